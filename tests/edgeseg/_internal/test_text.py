from __future__ import annotations

import pytest

from edgeseg._internal.text import counted, escaped, last_line, percent, unprintable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Käse 猫 a\u00a0b", "Käse 猫 a\u00a0b"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[2Jgone\x9b", "\\x1b[2Jgone\\x9b"),
        ("\udcff\ud800", "\\udcff\\ud800"),
        ("\u202egpj.exe\u2028", "\\u202egpj.exe\\u2028"),
        ("x" * 501, "x" * 500 + "..."),
    ],
)
def test_what_is_shown_is_one_line_that_can_be_encoded(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(text).encode()
    assert bool(unprintable(text)) == (escaped(text, most=1000) != text)


def test_the_last_line() -> None:
    assert last_line("a\n b\x1b[1m \n\n") == "b\\x1b[1m"
    assert last_line(" \n") == "(nothing)"
    assert len(last_line("y" * 10_000_000)) == 503


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "thread", "1 thread"),
        (0, "image", "0 images"),
        (2, "class", "2 classes"),
        (1, "process", "1 process"),
        (3, "process", "3 processes"),
    ],
)
def test_a_number_and_what_it_counts(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("share", "digits", "text"), [(1.0, 3, "100.000%"), (0.999999, 3, "99.999%"), (0.5, 2, "50.00%"), (0.0, 2, "0.00%")]
)
def test_a_share_is_rounded_down(share: float, digits: int, text: str) -> None:
    assert percent(share, digits) == text
