"""Define a sink, and what several sinks need: frames of one size, played in real time, on a disk with free space."""

from __future__ import annotations

import logging
import math
import shutil
import time
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError, SinkLost

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes frames, one after the other, from one thread.

    ``write`` raises an ``EdgesegError``: ``InputError`` for a wrong request, ``SinkLost`` for a failure while writing.
    ``close`` must still be called then, and keeps what can be kept.
    """

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Take a frame ``(h, w, 3)`` uint8 BGR; the caller may reuse the array afterwards."""
        ...

    def close(self) -> None:
        """Finish what was written; may be called twice."""
        ...


@runtime_checkable
class TimedSink(Sink, Protocol):
    """A sink that keeps when each frame is shown."""

    def write_at(
        self, image_bgr: NDArray[np.uint8], name: str, time_s: float | None, frame_s: float | None = None
    ) -> None:
        """Take a frame as ``write`` does, when it is shown and how long, in seconds; None where that is not known."""
        ...


def checked_fps(fps: float) -> float:
    """Return ``fps`` if a video can have it.

    Raises:
        InputError: it is not a number between 0.01 and 1000.
    """
    if not (math.isfinite(fps) and 0.01 <= fps <= 1000):
        raise InputError(f"a video has 0.01 to 1000 frames a second, got {fps:g}; give another `fps`.")
    return float(fps)


class OneSize:
    """Fits every frame to the size of the first: a video has one size, and a source may change its resolution."""

    def __init__(self, what: str) -> None:
        self.size_hw: tuple[int, int] | None = None
        self._what = what
        self._told: tuple[int, int] | None = None

    def fit(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frame itself, or scaled as a whole with black bars; a new size is logged once.

        Args:
            image_bgr: ``(h, w, 3)`` uint8 BGR.

        Returns:
            ``(*size_hw, 3)`` uint8 BGR.
        """
        size_hw = (image_bgr.shape[0], image_bgr.shape[1])
        if self.size_hw is None:
            self.size_hw = size_hw
        if size_hw == self.size_hw:
            return image_bgr
        if size_hw != self._told:
            self._told = size_hw
            _log.warning(
                "frames are now %dx%d; %s stays %dx%d, with bars.", *size_hw[::-1], self._what, *self.size_hw[::-1]
            )
        height, width = self.size_hw
        scale = min(height / size_hw[0], width / size_hw[1])
        new_h, new_w = max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))
        top, left = (height - new_h) // 2, (width - new_w) // 2
        fitted = np.zeros((height, width, 3), np.uint8)
        inside = fitted[top : top + new_h, left : left + new_w]
        cv2.resize(
            image_bgr, (new_w, new_h), dst=inside, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        return fitted


class RealTime:
    """Decides how often a frame is written so that a video of fixed rate plays as long as its frames took to come."""

    #: A longer gap (the loop was paused) is cut to this: nobody wants an hour of one image.
    LONGEST_GAP_S = 1.0

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._start_s: float | None = None
        self._last_s = 0.0
        self._written = 0

    def repeats(self, now_s: float | None = None) -> int:
        """Return how often to write the current frame: 0 when frames come faster than the video's rate.

        Args:
            now_s: ``time.perf_counter()`` when omitted.
        """
        now_s = time.perf_counter() if now_s is None else now_s
        if self._start_s is None:
            self._start_s = self._last_s = now_s
        self._start_s += max(0.0, now_s - self._last_s - self.LONGEST_GAP_S)
        self._last_s = now_s
        due = int((now_s - self._start_s) * self._fps + 0.5) + 1
        repeats = max(0, due - self._written)
        self._written += repeats
        return repeats


class Times:
    """Decides when each frame of a video is shown, in seconds from the first.

    Args:
        fps: the rate of frames whose time is not known.
        live: their time is that at which they came, and a gap longer than ``RealTime.LONGEST_GAP_S`` is cut to it.
    """

    def __init__(self, fps: float, *, live: bool) -> None:
        self._fps = fps
        self._live = live
        self._first_s: float | None = None
        self._last_s = 0.0
        self._count = 0

    def at(self, time_s: float | None) -> float:
        """Return the seconds from the first frame to this one; never less than those of the one before."""
        count, self._count = self._count, self._count + 1
        if time_s is None:
            time_s = time.perf_counter() if self._live else count / self._fps
        if self._first_s is None:
            self._first_s = self._last_s = time_s
        if self._live:
            self._first_s += max(0.0, time_s - self._last_s - RealTime.LONGEST_GAP_S)
        self._last_s = max(time_s, self._last_s)
        return self._last_s - self._first_s


class DiskWatch:
    """Detects a full disk before the encoder does.

    OpenCV's writer reports no failed write, so a recording ends while there is still room to finish the file. A quota
    or a maximum file size is not detected here; ``OpenCvVideo.close`` reads the file back and reports it.
    """

    #: Room to finish a file: its index (16 to 64 bytes a frame) and what libraries hold back in buffers.
    RESERVE_BYTES = 16 << 20
    RESERVE_BYTES_PER_FRAME = 64

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown
        self._frames = 0

    def check(self, num_bytes: int) -> None:
        """Check the disk before a frame of so many bytes in memory is written.

        Raises:
            SinkLost: there is no room, or the file is gone.
        """
        self._frames += 1
        try:
            free = shutil.disk_usage(self._path.parent).free
            self._path.stat()
        except OSError as error:
            raise SinkLost(f"'{self._shown}' cannot be written any more: {error.strerror}.") from error
        if free < self.RESERVE_BYTES + 2 * num_bytes + self.RESERVE_BYTES_PER_FRAME * self._frames:
            raise SinkLost(
                f"the disk of '{self._shown}' is full ({free >> 20} MiB left, which finishing the file may need); "
                "make room, or save to another disk."
            )
