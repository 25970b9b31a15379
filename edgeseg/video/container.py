"""Open a video file or network stream with FFmpeg, and find out what is in it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.images import max_image_pixels
from edgeseg._internal.text import escaped
from edgeseg.errors import InputError
from edgeseg.video.address import LIVE_SCHEMES, RTMP_SCHEMES, URL, has_scheme, is_remote, location, shown
from edgeseg.video.library import load
from edgeseg.video.reasons import hung_up, not_relayed, silent, why
from edgeseg.video.relay import PROGRAMS_OWN, Relay

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

#: Demuxers of one image, by the end of their name.
_STILL = "_pipe"

#: Files of JPEGs one after the other, which FFmpeg's demuxer of one JPEG reads as well.
MOTION_JPEG = frozenset({".mjpeg", ".mjpg"})

#: Demuxers of files without a duration that have an end all the same.
_FINITE = frozenset({"gif", "apng"})

#: Demuxers whose files state how long they are; FFmpeg computes the others' length from the bit rate, or from the end.
_STATED = ("matroska", "webm", "mov", "mp4", "avi", "flv", "asf")

# The share of the timeout that may go to finding out what a stream has: FFmpeg looks at 5 s of it when it is not told,
# and the timeout of opening runs meanwhile.
_ANALYZE = 0.5

# Of RTMP, whose header does not say what comes: where there is no sound FFmpeg looks for it until this time is over,
# which would be 2.5 s of every start.
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
    if timeout_s is None or not has_scheme(place, RTMP_SCHEMES):
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
                if not has_scheme(place, PROGRAMS_OWN):
                    raise
                relay = Relay(place, timeout_s=timeout_s)
                stack.callback(relay.close)
                container = container_of(relay)
        except (av.FFmpegError, RuntimeError, ValueError) as error:
            # Some protocols make another error of the end of their time: RTSP says that the data is invalid.
            late = remote and timeout_s is not None and time.monotonic() - began_s >= timeout_s
            if relay is not None and (known := not_relayed(relay.said(), place, late=late)) is not None:
                raise known from error
            kind = HungUp if remote and not late and hung_up(error, place) else InputError
            raise kind(silent(place, timeout_s) if late else why(error, place, timeout_s)) from error
        stack.callback(container.close)
        opened = _opened(container, name, relay, remote=remote, place=place)
        stack.pop_all()
        return opened


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
    several = not remote and PurePosixPath(place).suffix.lower() in MOTION_JPEG
    still = container.format.name.endswith(_STILL) and not several
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
