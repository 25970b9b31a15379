"""Configure and query OpenCV's captures, whatever they read from."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import masked
from edgeseg.errors import InputError

_quiet_lock = threading.Lock()
_quiet_depth = 0
_level_before = 0
_ERROR = 2  #: OpenCV's level that omits its warnings


class Stating(Protocol):
    """What says its frame rate by OpenCV's number for it."""

    def get(self, propId: int, /) -> float:  # noqa: N803 - OpenCV's name
        """Return a property."""


def stated_fps(capture: Stating) -> float | None:
    """Return the frame rate that an opened capture states; None for an invalid one (0, NaN, a clock of 90 kHz)."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= 1000 else None


def network_timeouts(timeout_s: float) -> Sequence[int]:
    """Return OpenCV's parameters for a server that may be dead: its default is 30 s, for opening and for every read."""
    milliseconds = max(1, round(1000 * timeout_s))
    return [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's warning that a source cannot be opened off stderr: our error says so.

    The level belongs to the process: the last thread that leaves restores it.
    """
    global _quiet_depth, _level_before
    with _quiet_lock:
        if not _quiet_depth:
            _level_before = _set_log_level(_ERROR)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if not _quiet_depth:
                _set_log_level(_level_before)


class OpencvReel:
    """A ``Reel`` (``edgeseg.sources.video``) of OpenCV's own ffmpeg: one frame rate, no time stamps."""

    damaged = 0
    still = False

    def __init__(self, path: str, *, timeout_s: float | None, estimated: bool) -> None:
        """Open a file, or a server's where ``timeout_s`` is given.

        Raises:
            InputError: it does not decode as a video.
        """
        with quiet_opencv():
            if timeout_s is None:
                self._capture = cv2.VideoCapture(path)
            else:
                self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, network_timeouts(timeout_s))
        if not self._capture.isOpened():
            self._capture.release()
            why = f"answer within {timeout_s:g} s, or not with a video" if timeout_s else "decode as a video"
            raise InputError(f"'{masked(path)}' does not {why}.")
        self.estimated = estimated
        self.fps = stated_fps(self._capture)
        claimed = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)  # a huge negative number where there is no length
        self.claimed = int(claimed) if 0 < claimed < 2**31 else 0
        self.time_s = 0.0
        self.frame_s = 1 / (self.fps or 25)

    def grab(self) -> bool:
        """Go to the next frame; False after the last."""
        if not self._capture.grab():
            return False
        self.time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return True

    def retrieve(self) -> NDArray[np.uint8] | None:
        """Return the current frame as BGR; None where it does not decode."""
        ok, image_bgr = self._capture.retrieve()
        return image_bgr if ok else None  # type: ignore[return-value]

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


def _set_log_level(level: int) -> int:
    """Set the level and return the previous one; OpenCV 5 moved the function, and 4.11 is the newest for numpy 1."""
    before: int = getattr(cv2.utils, "logging", cv2).setLogLevel(level)
    return before
