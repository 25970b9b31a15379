"""``edgeseg.snippets.literals``: what each language reads again in a literal is the text, and nothing ends it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable

import numpy as np
import pytest

from edgeseg.choices import SnippetLanguage
from edgeseg.snippets.literals import LITERALS, comment, float32

TEXTS = (
    "road",
    'it\'s "quoted" \\ and \\n',
    "${x} $x \\(x) %s {{ x }} #{x} `x`",
    "*/ // # --> </script> ]]> ??/ ??!",
    "a\nb\r\t\0\x1b[2J\x7f",
    "\u2028\u2029\u202e\ufeff Füße 道 \U0001f6b2",
    "1234 after \u00018 and \u00fff",  # digits that a shorter escape would swallow
)


def _kotlin(literal: str) -> str:
    return str(json.loads(literal.replace("\\$", "$")))  # no escape that JSON lacks is written


def _swift(literal: str) -> str:
    return re.sub(r"\\u\{([0-9A-F]{1,8})\}", lambda found: chr(int(found[1], 16)), literal[1:-1])


def _cpp(literal: str) -> str:
    data = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), literal[1:-1].encode())
    return data.decode("utf-8", "surrogateescape")


READERS: dict[SnippetLanguage, Callable[[str], str]] = {
    "python": ast.literal_eval,
    "js": json.loads,
    "kotlin": _kotlin,
    "swift": _swift,
    "cpp": _cpp,
}


@pytest.mark.parametrize("language", READERS)
def test_a_literal_is_the_text(language: SnippetLanguage) -> None:
    for text in TEXTS:
        literal = LITERALS[language](text)
        assert READERS[language](literal) == text
        assert literal.isascii() and literal.isprintable()


def test_what_each_language_would_run_is_escaped() -> None:
    assert "$" not in LITERALS["kotlin"]("${x}")
    assert "\\(" not in LITERALS["swift"]("\\(x)")
    assert "?" not in LITERALS["cpp"]("??/")
    assert "<" not in LITERALS["js"]("</script>")


def test_a_file_name_may_have_bytes_that_are_no_text() -> None:
    name = b"m\xff.tflite".decode("utf-8", "surrogateescape")
    assert LITERALS["cpp"](name) == '"m\\377.tflite"'
    for language in ("python", "js", "kotlin"):
        assert READERS[language](LITERALS[language](name)) == name
    assert READERS["swift"](LITERALS["swift"](name)) == "m?.tflite"  # Swift has no half characters


def test_a_comment_is_one_line_of_ascii() -> None:
    for text in TEXTS:
        assert json.loads(comment(text)) == text
        assert comment(text).isascii() and comment(text).isprintable() and comment(text)[-1] == '"'


def test_a_number_is_single_precision() -> None:
    assert [float32(value) for value in (127.5, 0, 1e-5, -58.395)] == ["127.5f", "0.0f", "1e-05f", "-58.395f"]
    assert np.float32(float32(0.1)[:-1]) == np.float32(0.1)
