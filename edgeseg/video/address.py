"""Take an address or a path apart, and name it as FFmpeg does and as messages do."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Collection
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from edgeseg._internal.text import masked
from edgeseg.errors import InputError

#: ``scheme://``, as every address of a network begins.
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

#: Schemes whose servers send in their own time: nothing that comes from them can be asked for again.
LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "rtp", "udp", "tcp"})

#: Schemes of a server that keeps who asks for a stream that does not exist waiting for it.
RTMP_SCHEMES = ("rtmp", "rtmps")

# As of an image; FFmpeg's names for them are more, and these are those of web servers.
_IMAGE_NAME = re.compile(r"^https?://.*\.(?:jpe?g|png|bmp|tiff?|webp|gif|avif|jp2)$", re.IGNORECASE | re.DOTALL)

#: Standard input, as ``-`` names it. Where it is a file, FFmpeg goes back in it, which it does not with ``pipe:``.
STDIN = "fd:"


def is_file_url(place: str) -> bool:
    """Return whether a place is a file of this machine by its address: ``file://``, in letters of any case."""
    scheme = URL.match(place)
    return scheme is not None and scheme[1].lower() == "file"


def is_remote(place: str) -> bool:
    """Return whether a place is an address, or an SDP file, which says where an RTP stream comes to."""
    if is_file_url(place) or not URL.match(place):
        return PurePosixPath(place).suffix.lower() == ".sdp"
    return True


def location(place: str) -> str:
    """Return how FFmpeg names a place: a path is exact, whatever is in it, and ``-`` is standard input."""
    if place == "-":
        return STDIN
    if is_file_url(place) or not URL.match(place):
        return f"file:{local_path(place)}"
    scheme, rest = place.split("://", 1)
    place = f"{scheme.lower()}://{rest}"  # FFmpeg has no HTTP://
    if _IMAGE_NAME.search(place):
        # FFmpeg takes what ends so for images that are numbered by a pattern, and looks for it on the disk where there
        # is a "?" in it. An escaped letter is the same letter to a server.
        return f"{place[:-1]}%{ord(place[-1]):02X}"
    return place


def shown(place: str) -> str:
    """Return a place as messages name it: without passwords, and ``-`` in words."""
    return "standard input" if place == "-" else masked(place)


def require_address(url: str, *, shown: str) -> None:
    """Check the part of an address that names a machine.

    Raises:
        InputError: it cannot be taken apart; the text has ``shown`` in place of the address, which may have a password.
    """
    try:
        urlsplit(url).hostname  # noqa: B018 - it is computed here
    except ValueError as error:
        raise InputError(
            f"'{shown}' is no address: before the path is HOST, HOST:PORT or [IPv6]; write '[' in a password as %5B."
        ) from error


def local_path(place: str) -> str:
    """Return a path as it is, and the one that an address such as ``file:///a%20b.mp4`` names.

    Raises:
        InputError: the address names another machine.
    """
    return _path_of(place) if is_file_url(place) else place


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"'{masked(url)}' names the machine '{parts.netloc}'; file:///PATH is a file of this one.")
    return urllib.request.url2pathname(parts.path)


def has_scheme(place: str, schemes: Collection[str]) -> bool:
    """Return whether a place is an address that begins with one of these schemes."""
    return bool(URL.match(place)) and urlsplit(place).scheme in schemes
