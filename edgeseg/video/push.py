"""Encode raw frames from stdin and push them to a server, as a program of its own: ``python -m edgeseg.video.push``.

PyAV opens connections and ends streams while it holds the interpreter's lock, and a server that does not answer would
stop every thread. A process can be ended. The address comes on stdin too: arguments are shown to every user.

First comes a line of JSON, ``{"url", "width", "height", "fps"}``, then frames, BGR, as they come. The time of a frame
is that at which it arrived. ``CONNECTED`` on stderr says that the server takes it; what is said after that is an error.
"""

from __future__ import annotations

import errno
import json
import signal
import sys
import time
from contextlib import ExitStack
from fractions import Fraction
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np

from edgeseg.video.color import ToYuv, tags_for
from edgeseg.video.encode import TICKS, configure, failures
from edgeseg.video.library import load
from edgeseg.video.reasons import hung_up, resolves

#: The muxer that a URL's scheme needs, and its options.
MUXERS: dict[str, tuple[str, dict[str, str]]] = {
    "rtmp": ("flv", {"flvflags": "no_duration_filesize"}),
    "rtmps": ("flv", {"flvflags": "no_duration_filesize"}),
    "rtsp": ("rtsp", {"rtsp_transport": "tcp"}),
    "udp": ("mpegts", {}),
    "tcp": ("mpegts", {}),
    "srt": ("mpegts", {}),
    "http": ("mpegts", {}),
    "https": ("mpegts", {}),
}

CONNECTED = "connected"

#: Seconds that a server may take to answer, or to take a frame, until this process ends. They are more than those that
#: who started it waits before ending it: where that process was killed, nobody else would.
LONGEST_S = 15


def main() -> int:
    """Push what comes on stdin; return the exit status."""
    asked = json.loads(sys.stdin.buffer.readline())
    try:
        push(sys.stdin.buffer, asked["url"], (asked["height"], asked["width"]), asked["fps"])
    except failures() as error:
        print(_why(error, asked["url"]), file=sys.stderr, flush=True)
        return 1
    return 0


def _why(error: Exception, url: str) -> str:
    host = urlsplit(url).hostname
    if getattr(error, "errno", None) == errno.EIO and host and not resolves(host):
        return f"no machine has the name '{host}'"
    # A server of RTMP that does not know the application or the key hangs up; FFmpeg calls that an input/output error.
    return "the server closed the connection" if hung_up(error, url) else str(getattr(error, "strerror", None) or error)


def push(frames: BinaryIO, url: str, size_hw: tuple[int, int], fps: float) -> None:
    """Push frames to a URL until there are no more.

    Raises:
        OSError: the server cannot be reached, or hung up.
        ValueError: the encoder does not take frames of this size.
    """
    av = load("a pushed stream")
    height, width = size_hw
    muxer, options = MUXERS[url.partition("://")[0].lower()]
    with ExitStack() as stack:
        stack.callback(_end_after, 0)
        _end_after(LONGEST_S)
        container = stack.enter_context(
            av.open(url, "w", format=muxer, container_options={"flush_packets": "1", **options})
        )
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        even_hw = (height & ~1, width & ~1)
        configure(stream.codec_context, "libx264", even_hw, fps)
        stream.time_base = stream.codec_context.time_base
        convert = ToYuv(tags_for(even_hw))
        container.start_encoding()
        print(CONNECTED, file=sys.stderr, flush=True)
        _end_after(0)
        first_s, last = time.monotonic(), -1
        while (image_bgr := _read(frames, (height, width, 3))) is not None:
            _end_after(LONGEST_S)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_bgr[: even_hw[0], : even_hw[1]]), "bgr24")
            last = max(last + 1, round((time.monotonic() - first_s) * TICKS))
            frame.pts, frame.time_base = last, Fraction(1, TICKS)
            container.mux(stream.encode(convert(frame)))
            _end_after(0)
        _end_after(LONGEST_S)
        container.mux(stream.encode(None))


def _end_after(seconds: int) -> None:
    """End the process by a signal after so many seconds, even while the interpreter waits for a server; 0: do not."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(seconds)


def _read(frames: BinaryIO, shape: tuple[int, int, int]) -> Any:
    """Return the next frame; None at the end."""
    image_bgr = np.empty(shape, np.uint8)
    left = image_bgr.reshape(-1).data
    while left:
        count = frames.readinto(left)  # type: ignore[attr-defined]  # a BufferedReader has it
        if not count:
            return None
        left = left[count:]
    return image_bgr


if __name__ == "__main__":
    sys.exit(main())
