"""Bring a phone's browser to the page: an address to type, or to point the camera at."""

from __future__ import annotations

import io
from typing import TextIO


def shown_address(url: str, *, with_code: bool, stream: TextIO) -> list[str]:
    """Return the lines that tell people an address.

    Args:
        url: of the page.
        with_code: whether other machines reach it, so that a terminal shows it as a QR code too.
        stream: where the lines go.
    """
    lines = [url]
    if with_code and stream.isatty():
        try:
            import segno
        except ImportError:  # the address can be typed
            return lines
        drawn = io.StringIO()
        segno.make(url, error="l").terminal(drawn, compact=True)
        lines = [*drawn.getvalue().splitlines(), url]
    return lines
