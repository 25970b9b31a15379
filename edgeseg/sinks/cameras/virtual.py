"""Send frames to a virtual camera with ``pyvirtualcam``: v4l2loopback on Linux, OBS's on macOS and Windows."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import escaped
from edgeseg.errors import BackendUnavailable, InputError, SinkLost
from edgeseg.sinks.base import OneSize, checked_fps


class VirtualCamera:
    """A camera that other programs open. Frames of another size than the first are scaled, with black bars.

    Args:
        device: as pyvirtualcam names it, ``/dev/video10`` or ``OBS Virtual Camera``; the first that it finds when
            empty.
        fps: frames per second.
        live: frames come in their own time; others are sent at ``fps``.

    Raises:
        BackendUnavailable: pyvirtualcam is not installed.
        InputError: the device does not exist.
    """

    def __init__(self, device: str, *, fps: float, live: bool) -> None:
        self._shown = f"camera:{device}"
        if device.startswith("/dev/") and sys.platform == "linux" and not Path(device).is_char_device():
            raise no_device(device)
        try:
            self._package = import_module("pyvirtualcam")
        except ImportError as error:
            raise BackendUnavailable(
                f"'{self._shown}' needs pyvirtualcam, which is not installed. Install it with: pip install pyvirtualcam"
            ) from error
        self._device = device
        self._fps = checked_fps(fps)
        self._live = live
        self._size = OneSize(f"'{self._shown}'")
        self._camera: Any = None
        self._closed = False

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Send a frame ``(h, w, 3)`` uint8 BGR; a camera has no use for its ``name``.

        Raises:
            InputError: there is no such camera, or another program sends to it.
            SinkLost: the camera went away.
        """
        if self._closed:
            raise ValueError(f"write to '{self._shown}', which is closed")
        image_bgr = self._size.fit(image_bgr)
        height, width = image_bgr.shape[0] // 2 * 2, image_bgr.shape[1] // 2 * 2  # cameras deliver 4:2:0
        if self._camera is None:
            self._camera = self._open(width, height)
        try:
            self._camera.send(np.ascontiguousarray(image_bgr[:height, :width]))
        except (RuntimeError, OSError) as error:
            raise SinkLost(f"'{self._shown}' takes no more frames: {_words(error)}.") from error
        if not self._live:
            self._camera.sleep_until_next_frame()

    def close(self) -> None:
        """Close the camera; programs that show it get no more frames."""
        self._closed = True
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _open(self, width: int, height: int) -> Any:
        try:
            return self._package.Camera(
                width, height, self._fps, fmt=self._package.PixelFormat.BGR, device=self._device or None
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(f"'{self._shown}' cannot be opened: {_words(error)}.") from error


def no_device(path: str) -> InputError:
    """Return the error of a virtual camera of Linux that is not there, with the command that makes it."""
    numbered = re.fullmatch(r"/dev/video(0|[1-9]\d{0,2})", path, re.ASCII)
    make = "make a virtual camera first" if numbered else "a virtual camera is /dev/video10 after"
    return InputError(
        f"'{path}' is no device; {make}: sudo modprobe v4l2loopback video_nr={numbered[1] if numbered else 10}"
    )


def _words(error: Exception) -> str:
    """Return what pyvirtualcam says; it has a line for each kind of camera that it tried."""
    return escaped("; ".join(str(error).splitlines()), most=300).rstrip(".")
