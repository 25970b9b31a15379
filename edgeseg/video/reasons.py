"""Say exactly why an address or a file does not open, in one line: which of the many reasons it is."""

from __future__ import annotations

import errno
import http.client
import socket
import string
import urllib.request
from urllib.parse import quote, urlsplit

from edgeseg._internal.text import escaped, masked
from edgeseg.errors import BackendUnavailable, EdgesegError, InputError
from edgeseg.video.address import RTMP_SCHEMES, URL, has_scheme, is_file_url, shown

#: The media type of a web page.
_HTML = "text/html"


def why(error: Exception, place: str, timeout_s: float | None) -> str:
    """Return the line that says why a place does not open: which of the many reasons it is."""
    import av

    name = shown(place)
    if not URL.match(place) or is_file_url(place):
        return _why_no_file(error, place)
    if isinstance(error, (av.ExitError, av.TimeoutError)):
        return silent(place, timeout_s)
    known = (
        (av.HTTPUnauthorizedError, "the server refuses the user name or password (401)"),
        (av.HTTPForbiddenError, "the server does not allow it (403)"),
        (av.HTTPNotFoundError, "the server has nothing at this path (404)"),
        (av.HTTPTooManyRequestsError, "the server is asked too often (429)"),
        (av.HTTPBadRequestError, "the server does not understand the request (400)"),
        (av.HTTPClientError, "the server refuses the request (4XX)"),
        (av.HTTPServerError, "the server itself failed (5XX)"),
        (av.ConnectionRefusedError, "nothing answers there; the connection was refused"),
        (av.ProtocolNotFoundError, f"the FFmpeg in this PyAV has no '{urlsplit(place).scheme}://'"),
    )
    for kind, reason in known:
        if isinstance(error, kind):
            return f"'{name}' cannot be opened: {reason}."
    if hung_up(error, place):
        return f"'{name}' cannot be opened: the server closed the connection before a video came."
    if isinstance(error, av.InvalidDataError):
        return f"'{name}' cannot be opened: it answers {_what_answers(place, timeout_s)}."
    host = urlsplit(place).hostname
    if isinstance(error, OSError) and host and not resolves(host):
        return f"'{name}' cannot be opened: no machine has the name '{host}'."
    return f"'{name}' cannot be opened: {escaped(masked(str(getattr(error, 'strerror', None) or error)), most=200)}."


def not_relayed(said: str, place: str, *, late: bool) -> EdgesegError | None:
    """Return why the ffmpeg program does not receive an address, by what it said; ``None`` where it does not say it."""
    name, scheme, host = shown(place), urlsplit(place).scheme, urlsplit(place).hostname
    if "Protocol not found" in said:
        return BackendUnavailable(
            f"'{name}' cannot be opened: neither PyAV nor the ffmpeg on your PATH is built with '{scheme}://'; "
            "ffmpeg -protocols lists what it has."
        )
    # The first line of FFmpeg's own has the reason, the last one the address again; libsrt's are of its insides.
    reason = next((line for line in said.replace(place, name).splitlines() if "/SRT:" not in line), "")
    if "Incorrect passphrase" in said:
        reason = "the sender refuses the passphrase"
    elif host and not resolves(host):
        reason = f"no machine has the name '{host}'"
    elif late or not reason:
        return None
    else:
        reason = f"ffmpeg says: {escaped(masked(reason.rpartition('] ')[2]), most=200)}"
    return InputError(f"'{name}' cannot be opened: {reason}.")


def silent(place: str, timeout_s: float | None) -> str:
    """Return the line that says that a server is silent."""
    publisher = ", or nobody publishes there" if has_scheme(place, RTMP_SCHEMES) else ""
    return f"'{shown(place)}' does not answer within {timeout_s or 0:g} s{publisher}."


def _why_no_file(error: Exception, place: str) -> str:
    import av

    name = shown(place)
    if isinstance(error, av.FileNotFoundError):
        return f"'{name}' does not exist."
    if isinstance(error, (av.PermissionError, av.IsADirectoryError)):
        return f"'{name}' cannot be read: {error.strerror}."
    hint = (
        "; an MP4 with its index at the end cannot come through a pipe, Matroska and MPEG-TS can"
        if place == "-"
        else ""
    )
    return f"'{name}' does not decode as a video{hint}."


def hung_up(error: Exception, place: str) -> bool:
    """Return whether a connection ended early: FFmpeg calls that an I/O error, as it does a name that nobody has."""
    import av

    if isinstance(error, (av.ConnectionResetError, av.BrokenPipeError, av.EOFError)):
        return True
    host = urlsplit(place).hostname
    return getattr(error, "errno", None) == errno.EIO and (not host or resolves(host))


def resolves(host: str) -> bool:
    """Return whether a machine has this name."""
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):  # a label of a name has 1 to 63 letters
        return False
    return True


def as_text(place: str, timeout_s: float | None) -> InputError | None:
    """Return the error for a web server that answers with a text and hangs up, as one of HTTP/1.0; one short request.

    Returns:
        None where it answers with something else, or does not answer.
    """
    kind = _kind_of_answer(place, timeout_s)
    if kind is None or not kind.startswith("text/"):
        return None
    return InputError(f"'{shown(place)}' cannot be opened: it answers {_in_words(kind)}.")


def _what_answers(place: str, timeout_s: float | None) -> str:
    """Return what a web server answers that is no video; one short request."""
    kind = _kind_of_answer(place, timeout_s)
    return "with something else than a video" if kind is None else _in_words(kind)


def _in_words(kind: str) -> str:
    if kind == _HTML:
        return "with HTML, a web page, not a video"
    return f"with '{escaped(kind, most=60)}', which does not decode as a video"


def _kind_of_answer(place: str, timeout_s: float | None) -> str | None:
    """Return the media type of what a web server answers; ``None`` for another server, and one that does not answer."""
    if urlsplit(place).scheme not in ("http", "https"):
        return None
    parts = urlsplit(place)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    plain = quote(plain, safe=string.punctuation)  # a space, which FFmpeg takes
    try:
        with urllib.request.urlopen(plain, timeout=timeout_s or 5) as answer:
            start = answer.read(256).lstrip().lower()
            kind = str(answer.headers.get_content_type())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return _HTML if start.startswith((b"<!doctype html", b"<html")) else kind
