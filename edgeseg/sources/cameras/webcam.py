"""Open a camera with OpenCV, by its number or path, and make it deliver what is asked of it or say that it does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2

from edgeseg._internal.text import escaped
from edgeseg.choices import CameraFormat
from edgeseg.errors import InputError
from edgeseg.sources.cameras import v4l2
from edgeseg.sources.cameras.settings import CameraSettings
from edgeseg.sources.opencv import quiet_opencv, stated_fps

#: OpenCV's names for formats; YUYV is what nearly every webcam has, and MJPG what it needs for 1080p at 30 a second.
FOURCC: Mapping[CameraFormat, str] = {"mjpeg": "MJPG", "yuyv": "YUYV", "nv12": "NV12"}

#: The difference of two frame rates that are meant to be the same: 29.97 and 30.
_SAME_FPS = 0.5


class CameraDevice:
    """A camera by its number, or on Linux by its path.

    ``CAP_PROP_BUFFERSIZE`` is not set: frames are taken as they come, so that none waits in the driver, and with one
    buffer the driver would have none to fill while we decode.
    """

    def __init__(self, which: int | str, settings: CameraSettings) -> None:
        """Set which camera, and what is asked of it; it is not opened yet."""
        linux = sys.platform == "linux"
        self._which = which
        self._settings = settings
        self._api = cv2.CAP_V4L2 if linux else cv2.CAP_ANY
        self._path = (Path(f"/dev/video{which}") if isinstance(which, int) else Path(which)) if linux else None
        self.name = f"camera {which}"
        self.stem = f"camera{which}" if isinstance(which, int) else Path(which).name

    def open(self) -> cv2.VideoCapture:
        """Open the camera.

        Raises:
            InputError: it cannot be opened, and the text lists the cameras that exist; or it delivers something else
                than what was asked for.
        """
        # V4L2 waits for 10 s in a read of a camera that has stopped, and takes no timeout from us. OpenCV reads this
        # once per process, at the first such wait; whole seconds.
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
        why = "cannot be opened; is another program using it, or has it no image to give?"
        if self._path is not None and not self._path.exists():
            why = "is not there."
        elif self._path is not None and not os.access(self._path, os.R_OK | os.W_OK):
            why = "may not be opened by this user; on most systems the group 'video' may."
        else:
            self._refuse_raw()
            with quiet_opencv():
                capture = cv2.VideoCapture(self._which, self._api)
            if capture.isOpened():
                try:
                    self._configure(capture)
                except InputError:
                    capture.release()
                    raise
                return capture
            capture.release()
        raise InputError(f"{self.name} {why}{_cameras_found()}")

    def may_recover(self) -> bool:
        """Return whether the camera is still there: one that stopped may go on, an unplugged one has no path."""
        return self._path is None or self._path.exists()

    def _refuse_raw(self) -> None:
        """Refuse a device that opens and delivers no image, which OpenCV would wait for."""
        device = None if self._path is None else v4l2.device(self._path)
        if device is not None and device.kind == "raw":
            raise InputError(
                f"{self.name} opens and gives no image: its driver, {device.driver}, delivers the sensor's data to "
                "libcamera; give csi: in place of it."
            )

    def _configure(self, capture: cv2.VideoCapture) -> None:
        """Ask for the settings, the format first as sizes depend on it, and compare them with what the driver chose."""
        asked = self._settings
        if asked.format is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*FOURCC[asked.format]))
        if asked.size_wh is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.size_wh[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.size_wh[1])
        if asked.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, asked.fps)
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        letters = escaped(code.to_bytes(4, "little").decode("latin-1")) if 0 < code < 2**32 else ""
        size_wh = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = stated_fps(capture)
        # What a system does not say is not compared: OpenCV has no format on macOS.
        if asked.format is not None and letters and letters != FOURCC[asked.format]:
            raise self._other("`CameraSettings(format=...)`", asked.format, letters)
        if asked.size_wh is not None and min(size_wh) > 0 and size_wh != asked.size_wh:
            raise self._other("`CameraSettings(size_wh=...)`", "{}x{}".format(*asked.size_wh), "{}x{}".format(*size_wh))
        if asked.fps is not None and fps is not None and abs(fps - asked.fps) > _SAME_FPS:
            raise self._other("`CameraSettings(fps=...)`", f"{asked.fps:g}", f"{fps:g}")

    def _other(self, setting: str, asked: str, gives: str) -> InputError:
        return InputError(
            f"{self.name} gives {gives} in place of the {asked} of {setting}; list what it has with: "
            "edgeseg doctor --cameras"
        )


def _cameras_found() -> str:
    if sys.platform != "linux":
        return ""
    cameras = sorted(str(path) for path in Path("/dev").glob("video*"))
    return f" Found: {', '.join(cameras) if cameras else 'no /dev/video* at all'}."
