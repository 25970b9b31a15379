"""Make text fit for messages and logs: one line, nothing that steers a terminal, no password, ``1 image``."""

from __future__ import annotations

import re

#: Control characters and escape sequences, line and paragraph separators, marks that reverse the order of what
#: follows, and surrogates, which no encoding has and Python has for the bytes of a file name that are no UTF-8; as
#: between the brackets of a pattern.
UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]")
_PASSWORD = re.compile(
    r"(://[^/:@?\s]*):"
    r"(?:[^/\s]*@"  # up to the last @ of the address, as a password may have one itself
    r"|(?!\d*(?:[/?\s]|$))\S*@)"  # or has a slash, which is why digits and a slash are a port
)
_WORD = re.compile(r"\S+")
_SECRET_NAME = "(?:pass|passwd|password|passphrase|pwd|pw|token|key|secret|auth)"
#: In the query of a URL, and as a property of a pipeline: in quotes as a whole, or its value.
_SECRET = re.compile(rf"([?&][\w-]*{_SECRET_NAME}=)[^&\s]*", re.IGNORECASE)
_PROPERTY = re.compile(
    rf"""(?<!\S)(["'])?([\w:-]*{_SECRET_NAME}\s{{0,3}}=\s{{0,3}})"""
    r"""(?(1)(?:(?!\1).)*|(?:"(?:\\.|[^"\\])*(?:"|$)|'[^']*(?:'|$)|(?:[^\s\\]+|\\.)*))""",
    re.IGNORECASE | re.DOTALL,
)
_TO_FIRST_FOLDER = re.compile(r"\w+://[^/?]*(?:/[^/?@]*(?=[/?]|$))?")


def unprintable(text: str) -> str:
    """Return the first character that may not be printed as it is, escaped; empty where there is none."""
    found = _UNPRINTABLE.search(text)
    return escaped(found[0]) if found else ""


def escaped(text: str, *, most: int | None = 500) -> str:
    r"""Return text that can be printed on one line, such as ``a\nb``.

    Args:
        text: any text, also one that cannot be encoded.
        most: the number of characters after which it is cut; ``None`` for all of it.
    """
    cut = text if most is None or len(text) <= most else text[:most] + "..."
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), cut)


def printable(text: str) -> str:
    """Return a whole text as one line that steers no terminal; see ``escaped``."""
    return escaped(text, most=None)


def last_line(text: str) -> str:
    """Return the last line that is not empty, escaped; ``(nothing)`` where there is none."""
    # from the end, and a piece of it: a program may have printed much
    lines = text[-4096:].splitlines()
    return next((escaped(line.strip()) for line in reversed(lines) if line.strip()), "(nothing)")


def percent(share: float, digits: int) -> str:
    """Return a share in [0, 1] as ``99.65%``, rounded down: less than all is not 100 %."""
    return f"{int(share * 10 ** (digits + 2)) / 10**digits:.{digits}f}%"


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts: ``1 process``, ``2 processes``, ``2 images``."""
    return f"{number} {noun if number == 1 else noun + ('es' if noun.endswith('s') else 's')}"


def masked(text: str, *, stream_key: bool = False) -> str:
    """Return a text with the passwords in it as ``***``: ``rtsp://me:***@door/1``, ``user-pw=***``.

    Args:
        text: a URL, a text with URLs in it, or a pipeline.
        stream_key: the text is the URL of a destination, and what follows its first folder is secret (RTMP's stream
            key, SRT's passphrase): ``rtmp://host/app/***``.
    """
    text = _PROPERTY.sub(r"\1\2***", _SECRET.sub(r"\1***", _WORD.sub(_without_passwords, text)))
    shown = _TO_FIRST_FOLDER.match(text) if stream_key else None
    return f"{shown[0]}/***" if shown and text[shown.end() :].strip("/") else text


def _without_passwords(word: re.Match[str]) -> str:
    """Return a word with its passwords hidden; they end at an @, and what follows the last one is not searched."""
    before, at, after = word[0].rpartition("@")
    return _PASSWORD.sub(r"\1:***@", before + at) + after
