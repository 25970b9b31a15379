"""Open a video file or network stream with FFmpeg, find out what is in it, and say exactly why it does not open."""

from __future__ import annotations

import errno
import http.client
import math
import re
import socket
import string
import time
import urllib.request
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.images import max_image_pixels
from edgeseg._internal.text import escaped, masked
from edgeseg.errors import BackendUnavailable, EdgesegError, InputError
from edgeseg.video.library import load
from edgeseg.video.relay import PROGRAMS_OWN, Relay

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

#: ``scheme://``, as every address of a network begins.
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

#: Schemes whose servers send in their own time: nothing that comes from them can be asked for again.
LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "rtp", "udp", "tcp"})

#: Demuxers of one image, by the end of their name.
_STILL = "_pipe"

#: Demuxers of files without a duration that have an end all the same.
_FINITE = frozenset({"gif", "apng"})

#: Demuxers whose files state how long they are; FFmpeg computes the others' length from the bit rate, or from the end.
_STATED = ("matroska", "webm", "mov", "mp4", "avi", "flv", "asf")

# As of an image; FFmpeg's names for them are more, and these are those of web servers.
_IMAGE_NAME = re.compile(r"^https?://.*\.(?:jpe?g|png|bmp|tiff?|webp|gif|avif|jp2)$", re.IGNORECASE | re.DOTALL)

#: The media type of a web page.
_HTML = "text/html"

#: Standard input, as ``-`` names it. Where it is a file, FFmpeg goes back in it, which it does not with ``pipe:``.
STDIN = "fd:"

# The share of the timeout that may go to finding out what a stream has: FFmpeg looks at 5 s of it when it is not told,
# and the timeout of opening runs meanwhile.
_ANALYZE = 0.5

# Of RTMP, whose header does not say what comes: where there is no sound FFmpeg looks for it until this time is over,
# which would be 2.5 s of every start.
_RTMP_SCHEMES = ("rtmp", "rtmps")
_RTMP_ANALYZE_S = 1.0

# Where sound came first the image comes with the next key frame, some seconds later, and FFmpeg stops at it.
_RTMP_KEY_FRAME = 0.9


class HungUp(InputError):
    """A server took the connection and closed it before enough of a video came."""


class _NoVideo(InputError):
    """What came until now has no video in it."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open container and the video stream in it that is read.

    Attributes:
        name: what was opened, passwords masked.
        container: PyAV's container; ``close`` it.
        stream: its best video stream.
        fps: frames per second on average, as the container states them; ``None`` where it does not.
        duration_s: how long it says it plays; ``None`` where it does not say, as a live stream.
        num_frames: frames that it says it has; 0 where it does not.
        estimated: ``num_frames`` was computed from the duration and the frame rate.
        live: it goes on whether it is read or not: it has no end to reach.
        still: it is one image.
        remote: it comes from a network.
        relay: the process that receives it, where PyAV has not its protocol.
    """

    __repr__ = short_repr

    name: str
    container: InputContainer
    stream: VideoStream
    fps: float | None
    duration_s: float | None
    num_frames: int
    estimated: bool
    live: bool
    still: bool
    remote: bool
    relay: Relay | None = None

    @property
    def format(self) -> str:
        """The name of FFmpeg's demuxer, such as ``hls``."""
        return self.container.format.name

    @property
    def unmeasured(self) -> bool:
        """Whether only the end of the connection says that it ends, as with HTTP/1.0 without a length."""
        return self.remote and not self.live and self.container.size <= 0

    def stop(self) -> None:
        """End a wait for a process that receives, from any thread."""
        if self.relay is not None:
            self.relay.stop()

    def why_ended(self) -> str:
        """Return why nothing comes after the last packet."""
        return "it ended" if self.relay is None else "the sender ended it, or is silent"

    def close(self) -> None:
        """Close the file or connection; only for the thread that reads."""
        self.container.close()
        if self.relay is not None:
            self.relay.close()


def open_container(place: str, *, timeout_s: float | None = None, format: str | None = None) -> Opened:  # noqa: A002 - FFmpeg's word
    """Open a file or an address.

    Args:
        place: a path, an address, or ``-`` for standard input.
        timeout_s: how long a server may be silent, in opening and in every read; ``None`` for no limit.
        format: the name of the demuxer, where the content does not tell.

    Raises:
        InputError: it does not open, has no video, or its codec cannot be decoded; the text says which.
        BackendUnavailable: PyAV is not installed.
    """
    if timeout_s is None or not _has_scheme(place, _RTMP_SCHEMES):
        return _open(place, timeout_s, format, None if timeout_s is None else timeout_s * _ANALYZE)
    try:
        return _open(place, timeout_s, format, min(_RTMP_ANALYZE_S, timeout_s * _ANALYZE))
    except _NoVideo:
        return _open(place, timeout_s, format, timeout_s * _RTMP_KEY_FRAME)


def _open(place: str, timeout_s: float | None, format: str | None, analyze_s: float | None) -> Opened:  # noqa: A002
    av = load("reading this video")
    remote = is_remote(place)
    name = shown(place)
    began_s = time.monotonic()

    def container_of(file: str | Relay) -> InputContainer:
        container: InputContainer = av.open(
            file,
            "r",
            format=format,
            options=dict(_options(place, timeout_s, analyze_s)),
            metadata_errors="replace",  # a title that is no UTF-8 must not end a video
            timeout=(timeout_s, timeout_s),
        )
        return container

    with ExitStack() as stack:
        relay: Relay | None = None
        try:
            try:
                container = container_of(location(place))
            except av.ProtocolNotFoundError:
                if not _has_scheme(place, PROGRAMS_OWN):
                    raise
                relay = Relay(place, timeout_s=timeout_s)
                stack.callback(relay.close)
                container = container_of(relay)
        except (av.FFmpegError, RuntimeError, ValueError) as error:
            # Some protocols make another error of the end of their time: RTSP says that the data is invalid.
            late = remote and timeout_s is not None and time.monotonic() - began_s >= timeout_s
            if relay is not None and (known := _not_relayed(relay.said(), place, late=late)) is not None:
                raise known from error
            kind = HungUp if remote and not late and hung_up(error, place) else InputError
            raise kind(_silent(place, timeout_s) if late else _why(error, place, timeout_s)) from error
        stack.callback(container.close)
        opened = _opened(container, name, relay, remote=remote, place=place)
        stack.pop_all()
        return opened


def is_remote(place: str) -> bool:
    """Return whether a place is an address, or an SDP file, which says where an RTP stream comes to."""
    if place.startswith("file://") or not URL.match(place):
        return PurePosixPath(place).suffix.lower() == ".sdp"
    return True


def location(place: str) -> str:
    """Return how FFmpeg names a place: a path is exact, whatever is in it, and ``-`` is standard input."""
    if place == "-":
        return STDIN
    if place.startswith("file://"):
        return "file:" + path_of(place)
    if not URL.match(place):
        return f"file:{place}"
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


def path_of(url: str) -> str:
    """Return the path that ``file:///a%20b.mp4`` names."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"'{masked(url)}' names the machine '{parts.netloc}'; file:///PATH is a file of this one.")
    return urllib.request.url2pathname(parts.path)


def _has_scheme(place: str, schemes: Collection[str]) -> bool:
    return bool(URL.match(place)) and urlsplit(place).scheme in schemes


def _options(place: str, timeout_s: float | None, analyze_s: float | None) -> Mapping[str, str]:
    scheme = urlsplit(place).scheme if URL.match(place) else ""
    options: dict[str, str] = {}
    if (scheme in LIVE_SCHEMES or (is_remote(place) and not scheme)) and analyze_s is not None:
        options["analyzeduration"] = str(max(1, int(analyze_s * 1e6)))
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_flags"] = "prefer_tcp"  # TCP, and UDP with a server that has no TCP, such as VLC's
    if scheme in ("http", "https") and timeout_s is not None:
        # A file whose connection breaks is asked for from there on, where the server has ranges; FFmpeg waits 0, 1, 3
        # seconds in turn, as long as the server may be silent.
        options |= {"reconnect": "1", "reconnect_delay_max": str(max(1, int(timeout_s)))}
    if scheme == "udp":
        options["overrun_nonfatal"] = "1"  # a burst that did not fit costs its packets, not the stream
    if scheme == "rtmp":
        options["rtmp_live"] = "any"
    if scheme == "rtp" or PurePosixPath(place).suffix.lower() == ".sdp":
        options["protocol_whitelist"] = "file,rtp,udp,crypto,http,https,tcp,tls"  # what an SDP file points at
    return options


def _opened(container: InputContainer, name: str, relay: Relay | None, *, remote: bool, place: str) -> Opened:
    videos = [stream for stream in container.streams.video if not stream.disposition & _attached_image()]
    videos = videos or list(container.streams.video)
    if not videos:
        kinds = sorted({stream.type for stream in container.streams})
        raise _NoVideo(f"'{name}' does not decode as a video: it has {', '.join(kinds) or 'no streams'} only.")
    stream = _best(videos)
    if stream.codec_context is None:
        raise InputError(f"'{name}' cannot be decoded: this FFmpeg has no decoder for its codec{_codec(container)}.")
    if stream.width * stream.height > max_image_pixels():
        raise InputError(f"'{name}' claims {stream.width} x {stream.height} pixels, more than {max_image_pixels()}.")
    duration_s = None if container.duration is None or container.duration <= 0 else container.duration / 1e6
    still = container.format.name.endswith(_STILL)
    fps = _fps(stream)
    stated = container.format.name.split(",")[0] in _STATED and duration_s is not None and fps is not None
    num_frames = stream.frames or (round((duration_s or 0) * (fps or 0)) if stated else 0)
    return Opened(
        name=name,
        container=container,
        stream=stream,
        fps=None if still else fps,
        duration_s=duration_s,
        num_frames=1 if still else num_frames if 0 < num_frames < 2**31 else 0,
        estimated=not stream.frames,
        live=remote and _is_live(container, place, duration_s, still=still),
        still=still,
        remote=remote,
        relay=relay,
    )


def _is_live(container: InputContainer, place: str, duration_s: float | None, *, still: bool) -> bool:
    """Return whether what comes from a network has no end, by what the container says.

    A live playlist has no ENDLIST, and so no duration. Of a server of files the length is known in bytes.
    """
    if urlsplit(place).scheme in LIVE_SCHEMES or container.format.name == "sdp":
        return True
    if still or duration_s is not None or container.format.name in _FINITE:
        return False
    return container.format.name == "hls" or container.size <= 0


def _best(videos: list[VideoStream]) -> VideoStream:
    """Return the stream with the most pixels, the first of those that have as many, as FFmpeg chooses."""
    return max(videos, key=lambda stream: 0 if stream.codec_context is None else stream.width * stream.height)


def _attached_image() -> int:
    from av.stream import Disposition

    return Disposition.attached_pic  # the cover of a piece of music


def _fps(stream: VideoStream) -> float | None:
    """Return the average, which keeps the duration where the rate varies; ``None`` for an invalid one."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and math.isfinite(float(rate)) and 0 < rate <= 1000:
            return float(rate)
    return None


def _codec(container: InputContainer) -> str:
    """Return the codec's name or four letters, from FFmpeg's own description of the container."""
    import av

    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # the description is a message of that level, which PyAV collects
    try:
        text: str = container.dumps_format()  # type: ignore[attr-defined]  # in no stub of PyAV
    finally:
        av.logging.set_level(level)
    found = re.search(r"Video: ([^,\n]{1,60})", text)
    return f", {escaped(found[1].strip())}" if found else ""


def _why(error: Exception, place: str, timeout_s: float | None) -> str:
    """Return the line that says why a place does not open: which of the many reasons it is."""
    import av

    name = shown(place)
    if not URL.match(place) or place.startswith("file://"):
        return _why_no_file(error, place)
    if isinstance(error, (av.ExitError, av.TimeoutError)):
        return _silent(place, timeout_s)
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


def _not_relayed(said: str, place: str, *, late: bool) -> EdgesegError | None:
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


def _silent(place: str, timeout_s: float | None) -> str:
    # A server of RTMP keeps who asks for a stream that does not exist waiting for it.
    publisher = ", or nobody publishes there" if _has_scheme(place, _RTMP_SCHEMES) else ""
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
