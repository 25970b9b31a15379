"""Read a camera of Raspberry Pi with its own package, ``picamera2``."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from importlib import import_module
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import escaped
from edgeseg.errors import InputError
from edgeseg.sources.cameras.settings import DEFAULT_FPS, DEFAULT_SIZE_WH, CameraSettings
from edgeseg.sources.pacing import SenderClock

INSTALL = "sudo apt install python3-picamera2"

#: How often a wait for a frame looks whether it was ended.
_POLL_S = 0.2


def picamera2() -> ModuleType | None:
    """Return the package; None where it does not import: without libcamera's own package, which apt brings."""
    try:
        return import_module("picamera2")
    except (
        ImportError,
        ValueError,
    ):  # a ValueError where apt's packages and pip's numpy do not fit: dtype size changed
        return None


class PicameraDevice:
    """A camera of Raspberry Pi, by its number in ``rpicam-hello --list-cameras``."""

    def __init__(self, index: int, settings: CameraSettings, package: ModuleType, *, timeout_s: float) -> None:
        """Set which camera, and what is asked of it; it is not opened yet.

        Args:
            index: from 0.
            settings: 640x480 at 30 a second where omitted.
            package: ``picamera2``.
            timeout_s: how long it may deliver no image.

        Raises:
            InputError: a format is asked for.
        """
        self.name = f"picamera:{index}"
        self.stem = f"picamera{index}"
        self._index = index
        settings.refuse_format(self.name)
        self._settings = settings
        self._size_wh = settings.size_wh or DEFAULT_SIZE_WH
        self._package = package
        self._timeout_s = timeout_s

    def open(self) -> PicameraCapture:
        """Start the camera; ``InputError`` where it does not, or not with the size and rate that were asked for."""
        camera = None
        try:
            camera = self._package.Picamera2(self._index)
            # Its names say the order in a register: this one has blue first in memory.
            main = {"size": self._size_wh, "format": "RGB888"}
            asked = self._settings.fps or DEFAULT_FPS
            camera.configure(camera.create_video_configuration(main=main, controls={"FrameRate": asked}))
            size_wh = tuple(camera.camera_configuration()["main"]["size"])
            if size_wh != self._size_wh:
                raise InputError(
                    "'{}' gives {}x{} in place of {}x{}; list what it has with: edgeseg doctor --cameras".format(
                        self.name, *size_wh, *self._size_wh
                    )
                )
            fps = self._settings.agreed_fps(self.name, _nearest_fps(camera, asked))
            camera.start()
        except (RuntimeError, IndexError, ValueError, OSError) as error:  # what it and libcamera raise
            if camera is not None:
                camera.close()
            if isinstance(error, InputError):
                raise
            said = escaped(str(error), most=200).rstrip(".")
            raise InputError(f"'{self.name}' cannot be opened: {said}.") from error
        return PicameraCapture(camera, self.name, fps=fps, timeout_s=self._timeout_s)

    def may_recover(self) -> bool:
        """Return False: a camera that stopped is opened again."""
        return False


def _nearest_fps(camera: Any, asked: float) -> float | None:
    """Return the rate that libcamera makes of one that was asked for, in the size that is set."""
    limits = camera.camera_controls.get("FrameDurationLimits")
    if limits is None:
        return None
    shortest_us, longest_us, _ = limits
    return float(1e6 / min(max(1e6 / asked, shortest_us), longest_us))


class PicameraCapture:
    """A camera that runs: a ``LiveCapture``. picamera2 keeps the newest frame.

    Attributes:
        captured_s: when the sensor began the current frame.
        reason: why ``grab`` returned False.
        skipped: frames that the current one replaced: it does not say how many.
    """

    skipped = 0

    def __init__(self, camera: Any, name: str, *, fps: float | None, timeout_s: float) -> None:
        """Take over a ``Picamera2`` that runs; ``release`` closes it."""
        self.captured_s = 0.0
        self.reason = ""
        self._camera = camera
        self._fps = fps
        self._timeout_s = timeout_s
        self._clock = SenderClock(name)
        self._stop = threading.Event()
        self._image: NDArray[np.uint8] | None = None

    def grab(self) -> bool:
        """Wait for a frame; False where none comes, and ``reason`` says why."""
        deadline = time.monotonic() + self._timeout_s
        try:
            job = self._camera.capture_request(wait=False)
            while not self._stop.is_set() and time.monotonic() < deadline:
                try:
                    request = self._camera.wait(job, timeout=_POLL_S)
                except concurrent.futures.TimeoutError:
                    continue
                self._take(request)
                return True
            self.reason = f"no image came within {self._timeout_s:g} s"
        except (RuntimeError, concurrent.futures.CancelledError) as error:
            self.reason = escaped(str(error), most=200) or "it was closed"
        return False

    def _take(self, request: Any) -> None:
        try:
            self._image = request.make_array("main")  # a copy
            stamp_ns = request.get_metadata().get("SensorTimestamp")
        finally:
            request.release()
        self.captured_s = time.perf_counter()
        if stamp_ns is not None:
            self.captured_s = self._clock.captured_s(time.clock_gettime(time.CLOCK_BOOTTIME) - stamp_ns / 1e9)

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Return True and the current frame: ``(h, w, 3)`` uint8 BGR."""
        return True, self._image

    def get(self, prop: int) -> float:
        """Return the frame rate for ``cv2.CAP_PROP_FPS``; 0 where nothing says it."""
        return (self._fps or 0.0) if prop == cv2.CAP_PROP_FPS else 0.0

    def stop(self) -> None:
        """End a wait for a frame, from any thread."""
        self._stop.set()

    def release(self) -> None:
        """Stop and close the camera."""
        self.stop()
        self._camera.close()
