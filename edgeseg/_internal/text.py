"""Show text that came from outside: on one line, without what moves a terminal's cursor or cannot be encoded."""

from __future__ import annotations

import re

#: Control characters and escape sequences, line and paragraph separators, marks that reverse the order of what
#: follows, and surrogates, which no encoding has.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def unprintable(text: str) -> str:
    """Return the first character that may not be printed as it is, escaped; empty where there is none."""
    found = _UNPRINTABLE.search(text)
    return escaped(found[0]) if found else ""


def escaped(text: str, *, most: int = 500) -> str:
    r"""Return text that can be printed on one line, such as ``a\nb``.

    Args:
        text: any text, also one that cannot be encoded.
        most: the number of characters after which it is cut.
    """
    cut = text if len(text) <= most else text[:most] + "..."
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), cut)


def last_line(text: str) -> str:
    """Return the last line that is not empty, escaped; ``(nothing)`` where there is none."""
    # from the end, and a piece of it: a program may have printed much
    lines = text[-4096:].splitlines()
    return next((escaped(line.strip()) for line in reversed(lines) if line.strip()), "(nothing)")
