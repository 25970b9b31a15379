"""Write texts and numbers from outside as literals of a programming language, which end nothing and run nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np

from edgeseg.choices import SnippetLanguage


def comment(text: str) -> str:
    """Return a text for a comment that ends with its line: in quotes, ASCII, without a line break."""
    return json.dumps(text)


def float32(value: float) -> str:
    """Return a number as C++ and Kotlin write one of single precision: ``127.5f``."""
    return f"{np.float32(value)!s}f"


def _javascript(text: str) -> str:
    # A program may be put into a page, whose script would end at "</script>".
    return json.dumps(text).replace("<", "\\u003c")


def _kotlin(text: str) -> str:
    # All but plain ASCII as its units of UTF-16; a dollar would begin a template.
    return '"' + "".join(c if _plain(c) and c != "$" else _units(c) for c in text) + '"'


def _swift(text: str) -> str:
    scalars = text.encode("utf-8", "replace").decode()  # half a character is none in Swift
    return '"' + "".join(c if _plain(c) else f"\\u{{{ord(c):X}}}" for c in scalars) + '"'


def _cpp(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")  # a file name may have bytes that are no text
    return '"' + "".join(chr(byte) if _plain(chr(byte)) and byte != 0x3F else f"\\{byte:03o}" for byte in data) + '"'


def _units(character: str) -> str:
    data = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at]:02x}{data[at + 1]:02x}" for at in range(0, len(data), 2))


def _plain(character: str) -> bool:
    return " " <= character <= "~" and character not in '"\\'


#: How each language writes a text.
LITERALS: Mapping[SnippetLanguage, Callable[[str], str]] = {
    "python": ascii,
    "kotlin": _kotlin,
    "swift": _swift,
    "cpp": _cpp,
    "js": _javascript,
}
