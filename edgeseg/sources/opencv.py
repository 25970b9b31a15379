"""Configure and query OpenCV's captures, whatever they read from."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2

_quiet_lock = threading.Lock()
_quiet_depth = 0
_level_before = 0
_ERROR = 2  #: OpenCV's level that omits its warnings


def stated_fps(capture: cv2.VideoCapture) -> float | None:
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


def _set_log_level(level: int) -> int:
    """Set the level and return the previous one; OpenCV 5 moved the function, and 4.11 is the newest for numpy 1."""
    before: int = getattr(cv2.utils, "logging", cv2).setLogLevel(level)
    return before
