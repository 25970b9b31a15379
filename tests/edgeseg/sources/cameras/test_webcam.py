"""``webcam``, ``settings``: what is asked of a camera, and what it gives; the camera is made up, as ours have none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeseg.errors import InputError
from edgeseg.sources import CameraSettings, open_source
from edgeseg.sources.cameras.webcam import CameraDevice

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux'")


class Webcam:
    """``cv2.VideoCapture`` of a camera with two formats; it takes the nearest size, as drivers do."""

    sizes = {"YUYV": [(640, 480), (1280, 720)], "MJPG": [(640, 480), (1280, 720), (1920, 1080)]}  # noqa: RUF012
    released = False

    def __init__(self, which: object, api: int) -> None:
        self.format, self.size, self.fps, self.width = "YUYV", (640, 480), 30.0, 0
        Webcam.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def set(self, prop: int, value: float) -> bool:
        if prop == cv2.CAP_PROP_FOURCC:
            letters = int(value).to_bytes(4, "little").decode()
            self.format = letters if letters in self.sizes else self.format
        elif prop == cv2.CAP_PROP_FRAME_WIDTH:
            self.width = int(value)
        elif prop == cv2.CAP_PROP_FRAME_HEIGHT:
            asked = (self.width, int(value))
            self.size = min(self.sizes[self.format], key=lambda size: abs(size[0] - asked[0]) + abs(size[1] - asked[1]))
        elif prop == cv2.CAP_PROP_FPS:
            self.fps = 29.97 if 25 < value < 35 else 15.0
        return True

    def get(self, prop: int) -> float:
        return {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*self.format),
            cv2.CAP_PROP_FRAME_WIDTH: self.size[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self.size[1],
            cv2.CAP_PROP_FPS: self.fps,
        }[prop]

    def release(self) -> None:
        Webcam.released = True


@pytest.fixture(autouse=True)
def webcam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)


def opened(**settings: Any) -> Any:
    return CameraDevice("/dev/null", CameraSettings(**settings)).open()


def test_a_camera_delivers_what_is_asked_for() -> None:
    camera = opened(size_wh=(1920, 1080), fps=30, format="mjpeg")
    assert (camera.format, camera.size, camera.fps) == ("MJPG", (1920, 1080), 29.97)
    assert opened().size == (640, 480)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"size_wh": (1920, 1080)},
            r"gives 1280x720 in place of the 1920x1080 of `CameraSettings\(size_wh=...\)`; list",
        ),
        ({"fps": 60}, r"gives 15 in place of the 60 of `CameraSettings\(fps=...\)`"),
        ({"format": "nv12"}, "gives YUYV in place of the nv12 of `.*`; list .*: edgeseg doctor --cameras$"),
    ],
)
def test_a_camera_that_gives_something_else_is_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(**settings)
    assert Webcam.released


def test_a_device_of_libcamera_is_named_as_the_trap_that_it_is(video_devices: Path) -> None:
    with pytest.raises(InputError, match=r"video2 opens and gives no image: its driver, unicam, .* give csi: in place"):
        CameraDevice(str(video_devices / "video2"), CameraSettings()).open()
    assert CameraDevice(str(video_devices / "video0"), CameraSettings()).open()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size_wh": (0, 480)}, r"`CameraSettings\(size_wh=...\)` is 0x480; accepted: 1 to"),
        ({"size_wh": (99999, 99999)}, r"`CameraSettings\(size_wh=...\)` is 99999x99999"),
        ({"fps": 0}, r"`CameraSettings\(fps=...\)` is 0; accepted: above 0"),
        ({"fps": float("nan")}, r"`CameraSettings\(fps=...\)` is nan"),
        ({"format": "jpeg"}, r"unknown `CameraSettings\(format=...\)` 'jpeg'; accepted: mjpeg, yuyv, nv12"),
    ],
)
def test_settings_that_no_camera_has_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source("0", camera=CameraSettings(**settings))


@pytest.mark.parametrize("text", ["street.mp4", "rtsp://door/1", "-"])
def test_what_is_no_camera_has_no_settings(text: str) -> None:
    with pytest.raises(
        InputError, match=rf"`CameraSettings\(size_wh=...\)` is for cameras, not for '{text}': that is none"
    ):
        open_source(text, camera=CameraSettings(size_wh=(640, 480)))
