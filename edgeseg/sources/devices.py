"""Open live sources with OpenCV: cameras, network streams, GStreamer pipelines."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

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


class CameraDevice:
    """A camera by its number, or on Linux by its path.

    ``CAP_PROP_BUFFERSIZE`` is not set: frames are taken as they come, so that none waits in the driver, and with one
    buffer the driver would have none to fill while we decode.
    """

    def __init__(self, which: int | str) -> None:
        """Set which camera; it is not opened yet."""
        linux = sys.platform == "linux"
        self._which = which
        self._api = cv2.CAP_V4L2 if linux else cv2.CAP_ANY
        self._path = (Path(f"/dev/video{which}") if isinstance(which, int) else Path(which)) if linux else None
        self.name = f"camera {which}"
        self.stem = f"camera{which}" if isinstance(which, int) else Path(which).name

    def open(self) -> cv2.VideoCapture:
        """Open the camera; ``InputError`` lists the cameras that exist."""
        # V4L2 waits for 10 s in a read of a camera that has stopped, and takes no timeout from us. OpenCV reads this
        # once per process, at the first such wait; whole seconds.
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
        why = "cannot be opened; is another program using it, or has it no image to give?"
        if self._path is not None and not self._path.exists():
            why = "is not there."
        elif self._path is not None and not os.access(self._path, os.R_OK | os.W_OK):
            why = "may not be opened by this user; on most systems the group 'video' may."
        else:
            with quiet_opencv():
                capture = cv2.VideoCapture(self._which, self._api)
            if capture.isOpened():
                return capture
            capture.release()
        raise InputError(f"{self.name} {why}{_cameras_found()}")

    def may_recover(self) -> bool:
        """Return whether the camera is still there: one that stopped may go on, an unplugged one has no path."""
        return self._path is None or self._path.exists()


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


class Pipeline:
    """A GStreamer pipeline that ends in an ``appsink``."""

    stem = "pipeline"

    def __init__(self, text: str) -> None:
        """Set the pipeline; it is not opened yet.

        Raises:
            InputError: this OpenCV was built without GStreamer, as the one on PyPI is.
        """
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise InputError(
                "this OpenCV has no GStreamer, and 'gst:' needs it; the one on PyPI is built without it, "
                "those of Debian (python3-opencv) and NVIDIA's JetPack with it."
            )
        self._text = text
        self.name = masked(f"gst:{text}")

    def open(self) -> cv2.VideoCapture:
        """Start the pipeline; ``InputError`` when it does not run."""
        with quiet_opencv():
            capture = cv2.VideoCapture(self._text, cv2.CAP_GSTREAMER)
        if capture.isOpened():
            return capture
        capture.release()
        raise InputError(f"'{self.name}' does not run; try it with gst-launch-1.0, and end it in '! appsink'.")

    def may_recover(self) -> bool:
        """Return False: a pipeline that ended does not start again."""
        return False


def _cameras_found() -> str:
    if sys.platform != "linux":
        return ""
    cameras = sorted(str(path) for path in Path("/dev").glob("video*"))
    return f" Found: {', '.join(cameras) if cameras else 'no /dev/video* at all'}."
