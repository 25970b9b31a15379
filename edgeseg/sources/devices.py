"""Define what a live source is opened and read by, and open network streams with OpenCV."""

from __future__ import annotations

import time
from typing import Any, Protocol, runtime_checkable

import cv2

from edgeseg._internal.text import masked
from edgeseg.errors import InputError
from edgeseg.sources.opencv import network_timeouts, quiet_opencv


class Capture(Protocol):
    """What an open device is read by: the part of ``cv2.VideoCapture`` that is used."""

    def grab(self) -> bool:
        """Go to the next frame; False where none came."""

    def retrieve(self) -> tuple[bool, Any]:
        """Return whether the frame decodes, and the frame: ``(h, w, 3)`` uint8 BGR."""

    def get(self, prop: int) -> float:
        """Return what it says of itself, by OpenCV's numbers."""

    def release(self) -> None:
        """Release the device; only for the thread that reads."""


@runtime_checkable
class LiveCapture(Capture, Protocol):
    """A capture that says more of its frames than OpenCV's.

    Attributes:
        captured_s: when the current frame was captured, came or was due; in the time of ``time.perf_counter``.
        reason: why ``grab`` returned False.
        skipped: frames that came between the one before and the current one, which replaced them.
    """

    captured_s: float
    reason: str
    skipped: int

    def stop(self) -> None:
        """End a wait for a frame, from any thread."""


class Device(Protocol):
    """A live device that can be opened, and opened again after it was lost.

    Attributes:
        name: for messages.
        stem: how the names of its frames begin.
    """

    name: str
    stem: str

    def open(self) -> Capture:
        """Open the device.

        Raises:
            InputError: it is not there; the text says what is known about the reason.
        """

    def may_recover(self) -> bool:
        """Return whether a read may succeed after one that failed, without opening the device again."""


class NetworkStream:
    """A stream by its URL, through OpenCV's ffmpeg, where PyAV is not installed."""

    stem = "stream"

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Set the URL; it is not opened yet. A server may be silent for ``timeout_s``, in opening and in reading."""
        self._url = url
        self._timeout_s = timeout_s
        self.name = masked(url)

    def open(self) -> cv2.VideoCapture:
        """Connect; ``InputError`` when no video comes."""
        # A decoder with n threads holds n - 1 frames back before it delivers the first: 7 on 8 cores, a quarter of a
        # second. ffmpeg's low_delay would do as well, but can only be set for the whole process.
        parameters = [*network_timeouts(self._timeout_s), cv2.CAP_PROP_N_THREADS, 1]
        began_s = time.perf_counter()
        with quiet_opencv():
            capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, parameters)
        if capture.isOpened():
            return capture
        capture.release()
        if time.perf_counter() - began_s >= self._timeout_s:
            raise InputError(f"'{self.name}' does not answer within {self._timeout_s:g} s.")
        raise InputError(f"'{self.name}' cannot be opened: nothing answers there, or not with a video.")

    def may_recover(self) -> bool:
        """Return False: ffmpeg keeps the error of a connection, also that of a timeout."""
        return False
