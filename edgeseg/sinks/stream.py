"""Push frames to a server as a stream that goes on when the server comes back."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import counted, masked
from edgeseg.errors import BackendUnavailable, InputError, SinkLost
from edgeseg.sinks.ffmpeg_pipe import STREAM_FORMATS, FfmpegPipe
from edgeseg.video.address import require_address
from edgeseg.video.library import has_av
from edgeseg.video.push import CONNECTED
from edgeseg.video.relay import PROGRAMS_OWN

_log = logging.getLogger(__name__)

#: Seconds before the first and the longest pause between two tries; each is twice the one before.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
#: Seconds for which a connection must hold, after which the pauses begin anew.
STEADY_S = 10.0
#: Seconds between two lines of the log about one stream.
QUIET_S = 5.0
#: Seconds in which the process must start and connect, and in which the server must take a frame.
STALL_S = 10.0


def is_stream(text: str) -> bool:
    """Return whether a target is the URL of a server."""
    return "://" in text and _scheme(text) in STREAM_FORMATS


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


class PushedStream:
    """Pushes the newest frame to a server as H.264, and connects again when it went away.

    The loop never waits for it: frames that the server has no time for, or that come while it is away, are dropped and
    counted. Tries are 1, 2, 4 and at most 30 seconds apart.

    Args:
        url: ``rtmp(s)://``, ``rtsp://``, ``udp://``, ``tcp://``, ``srt://`` or ``http(s)://``.
        fps: frames per second. The stream carries the time at which each frame was written, so it may be a guess.
        pipe: makes the process that pushes; for tests.

    Raises:
        InputError: the scheme is none of these.
        BackendUnavailable: there is neither PyAV (the extra ``video``) nor ffmpeg.

    Attributes:
        sent: frames that a connection took.
        dropped: frames that none took.
        connected: whether the server ever took the stream.
    """

    def __init__(self, url: str, *, fps: float, pipe: Callable[[], FfmpegPipe] | None = None) -> None:
        self._shown = masked(url, stream_key=True)
        if not is_stream(url):
            raise InputError(f"'{self._shown}': accepted schemes are {', '.join(STREAM_FORMATS)}.")
        require_address(url, shown=self._shown)
        own = has_av() and _scheme(url) not in PROGRAMS_OWN
        if pipe is None and not has_av() and shutil.which("ffmpeg") is None:
            raise BackendUnavailable(
                f"pushing to '{self._shown}' needs packages that are not installed. Install them with: "
                'pip install "edgeseg[video]"'
            )
        kind = _OwnPipe if own else FfmpegPipe
        self._make = pipe or (lambda: kind(url, fps=fps, stall_s=STALL_S))
        self._pipe: FfmpegPipe | None = self._make()  # a wrong rate is refused now
        self._began_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._next_s = 0.0
        self._told_s = -QUIET_S
        self._error: SinkLost | None = None
        self._losses = 0
        self._handed = 0  # to the process, and not one of those that it dropped
        self._missed = 0
        self._closed = False
        self.connected = False
        self._sent = 0

    @property
    def sent(self) -> int:
        """Frames that a connection took."""
        return self._sent + (self._handed if self._pipe is not None and self.connected else 0)

    @property
    def dropped(self) -> int:
        """Frames that were not sent."""
        return self._missed + (0 if self._pipe is None else self._pipe.dropped)

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Send a frame ``(h, w, 3)`` uint8 BGR if the server is there; a stream ignores its ``name``."""
        if self._closed:
            raise ValueError(f"write to '{self._shown}', which is closed")
        now_s = time.monotonic()
        if self._pipe is None:
            if now_s < self._next_s:
                self._missed += 1
                return
            self._pipe = self._make()
            self._began_s = None
            self._handed = 0
        self._began_s = now_s if self._began_s is None else self._began_s
        dropped = self._pipe.dropped
        try:
            self._pipe.write(image_bgr, name)
            self._handed += self._pipe.dropped == dropped
        except SinkLost as error:
            self._lose(error, now_s)
        else:
            self._look(now_s)

    def close(self) -> None:
        """End the connection, and say in the log what was not sent.

        Raises:
            SinkLost: the server never took the stream.
        """
        if self._closed:
            return
        self._closed = True
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            self._count(pipe, arrived=_is_connected(pipe, self._end(pipe)))
        if self._error is not None and not self.connected:
            raise self._error
        if self._losses:
            lost = counted(self._losses, "time")
            _log.warning("'%s' was lost %s; %s were not sent.", self._shown, lost, counted(self._missed, "frame"))

    def _look(self, now_s: float) -> None:
        """Note a connection, and that it holds."""
        assert self._pipe is not None and self._began_s is not None
        held_s = now_s - self._began_s
        if _is_connected(self._pipe, held_s > STEADY_S):
            if self._losses and self._next_s:
                _log.warning("'%s' is connected again.", self._shown)
                self._next_s = 0.0
            self.connected = True
            if held_s > STEADY_S:
                self._pause_s = FIRST_PAUSE_S

    def _lose(self, error: SinkLost, now_s: float) -> None:
        pipe, self._pipe = self._pipe, None
        assert pipe is not None
        arrived = _is_connected(pipe, now_s - (self._began_s or now_s) > STEADY_S)
        self._end(pipe)
        self._count(pipe, arrived=arrived)
        self._missed += 1
        self._losses += 1
        self._error = error
        self._next_s = now_s + self._pause_s
        if now_s - self._told_s >= QUIET_S:
            self._told_s = now_s
            _log.warning("%s. Next try in %g s; the other outputs go on.", str(error).rstrip("."), self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _count(self, pipe: FfmpegPipe, *, arrived: bool) -> None:
        """Count the frames of a process that is gone."""
        self.connected = self.connected or arrived
        self._missed += pipe.dropped + (0 if arrived else self._handed)
        self._sent += self._handed if arrived else 0
        self._handed = 0

    def _end(self, pipe: FfmpegPipe) -> bool:
        """Close a process; return whether it ended well."""
        try:
            pipe.close()
        except SinkLost as error:
            self._error = self._error or error
            return False
        return True


class _OwnPipe(FfmpegPipe):
    """The same process in Python, with FFmpeg's libraries."""

    who = "the stream"
    connected = False

    def _find_program(self) -> str:
        return sys.executable

    def command(self, size_hw: tuple[int, int]) -> list[str]:
        return [self._program, "-m", "edgeseg.video.push"]

    def head(self, size_hw: tuple[int, int]) -> bytes:
        asked = {"url": self._target, "height": size_hw[0], "width": size_hw[1], "fps": self._fps}
        return json.dumps(asked).encode() + b"\n"

    def heard(self, line: str) -> bool:
        if line == CONNECTED:
            self.connected = True
        return line == CONNECTED


def _is_connected(pipe: FfmpegPipe, otherwise: bool) -> bool:
    """Return what the process said; the ffmpeg program says nothing, and what it did is taken for it."""
    return pipe.connected if isinstance(pipe, _OwnPipe) else otherwise
