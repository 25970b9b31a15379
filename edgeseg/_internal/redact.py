"""Make texts fit for messages and logs: without the passwords of URLs, and nothing that steers a terminal."""

from __future__ import annotations

import re

_PASSWORD = re.compile(
    r"(://[^/:@?\s]*):"
    r"(?:[^/\s]*@"  # up to the last @ of the address, as a password may have one itself
    r"|(?!\d*(?:[/?\s]|$))\S*@)"  # or has a slash, which is why digits and a slash are a port
)
# Controls, line and paragraph ends, what turns the direction of writing, and halves of characters, which Python has for
# the bytes of a file name that are no UTF-8.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WORD = re.compile(r"\S+")
_SECRET = re.compile(r"([?&](?:pass|passwd|password|passphrase|pwd|token|key|secret|auth)=)[^&\s]*", re.IGNORECASE)
_TO_FIRST_FOLDER = re.compile(r"\w+://[^/?]*(?:/[^/?@]*(?=[/?]|$))?")


def masked(text: str, *, stream_key: bool = False) -> str:
    """Return a text with the passwords in it as ``***``: ``rtsp://me:***@door/1``.

    Args:
        text: a URL, or a text with URLs in it.
        stream_key: the text is the URL of a destination, and what follows its first folder is secret (RTMP's stream
            key, SRT's passphrase): ``rtmp://host/app/***``.
    """
    text = _SECRET.sub(r"\1***", _WORD.sub(_without_passwords, text))
    shown = _TO_FIRST_FOLDER.match(text) if stream_key else None
    return f"{shown[0]}/***" if shown and text[shown.end() :].strip("/") else text


def printable(text: str) -> str:
    """Return a text as one line that steers no terminal: line ends and controls are escaped as in Python."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _without_passwords(word: re.Match[str]) -> str:
    """Return a word with its passwords hidden; they end at an @, and what follows the last one is not searched."""
    before, at, after = word[0].rpartition("@")
    return _PASSWORD.sub(r"\1:***@", before + at) + after
