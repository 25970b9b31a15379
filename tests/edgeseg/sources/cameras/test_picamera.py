"""``picamera``: a stand-in with the names and answers of picamera2 0.3.38, which needs a camera to import."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError, SourceLost
from edgeseg.sources import CameraSettings, open_source

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="Raspberry Pi's cameras are Linux'"),
]


class Request:
    """``CompletedRequest``: a buffer of the camera, to be given back."""

    held = 0

    def __init__(self, size: tuple[int, int]) -> None:
        Request.held += 1
        self._size = size

    def make_array(self, name: str) -> np.ndarray:
        assert name == "main"
        return np.full((self._size[1], self._size[0], 3), (200, 40, 20), np.uint8)

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 40_000_000, "ExposureTime": 9998}

    def release(self) -> None:
        Request.held -= 1


class Picamera2:
    """Delivers 20 frames a second, at most three; sizes are multiples of 16, and rates 10 to 47.57 once it is set."""

    running = 0

    def __init__(self, camera_num: int = 0) -> None:
        if camera_num:
            raise IndexError("list index out of range")
        self._config: dict[str, Any] = {}
        self._frames = 3

    def create_video_configuration(self, main: dict[str, Any], controls: dict[str, Any]) -> dict[str, Any]:
        assert main["format"] == "RGB888"
        width, height = main["size"]
        return {"main": {**main, "size": (width // 16 * 16, height // 16 * 16)}, "controls": controls}

    @property
    def camera_controls(self) -> dict[str, tuple[int, int, int]]:
        limits = (21022, 100_000, 33333) if self._config else (1000, 10_000_000, 33333)
        return {"FrameDurationLimits": limits, "ExposureTime": (75, 11_766_829, 20_000)}

    def configure(self, camera_config: dict[str, Any]) -> None:
        self._config = camera_config

    def camera_configuration(self) -> dict[str, Any]:
        return self._config

    def start(self) -> None:
        Picamera2.running += 1

    def capture_request(self, wait: bool) -> concurrent.futures.Future[Request]:
        assert wait is False
        job: concurrent.futures.Future[Request] = concurrent.futures.Future()
        self._frames -= 1
        if self._frames >= 0:
            threading.Timer(0.05, lambda: job.set_result(Request(self._config["main"]["size"]))).start()
        return job

    def wait(self, job: concurrent.futures.Future[Request], timeout: float) -> Request:
        return job.result(timeout=timeout)

    def close(self) -> None:
        Picamera2.running -= 1


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("picamera2")
    module.Picamera2 = Picamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)


def test_frames_have_their_size_colors_and_age() -> None:
    source = open_source("picamera:", timeout_s=0.5, camera=CameraSettings(size_wh=(160, 96), fps=20))
    assert (source.name, source.live, source.fps) == ("picamera:0", True, 20)
    captured = source.read()
    assert captured is not None
    assert captured.image_bgr.shape == (96, 160, 3)
    assert captured.image_bgr[0, 0].tolist() == [200, 40, 20]
    assert time.perf_counter() - captured.captured_s >= 0.04
    with pytest.raises(SourceLost, match=r"'picamera:0' broke off after 3 frames: no image came within 0\.5 s\.$"):
        while source.read() is not None:
            pass
    source.close()
    assert (Picamera2.running, Request.held) == (0, 0)


def test_a_camera_that_is_not_there_or_has_not_that_size_is_told() -> None:
    with pytest.raises(InputError, match=r"'picamera:1' cannot be opened: list index out of range\.$"):
        open_source("picamera:1")
    before = Picamera2.running
    with pytest.raises(
        InputError, match=r"'picamera:0' gives 640x352 in place of 640x360; list what it has with: edges"
    ):
        open_source("picamera:0", camera=CameraSettings(size_wh=(640, 360)))
    assert Picamera2.running == before - 1  # closed without having been started
    with pytest.raises(InputError, match=r"`CameraSettings\(format=...\)` is for webcams"):
        open_source("picamera:0", camera=CameraSettings(format="mjpeg"))


def test_another_frame_rate_than_was_asked_for_is_told() -> None:
    before = Picamera2.running
    with pytest.raises(
        InputError,
        match=r"^'picamera:0' gives 47\.57 frames a second in place of the 120 of `CameraSettings\(fps=...\)`; list ",
    ):
        open_source("picamera:0", camera=CameraSettings(fps=120))
    assert Picamera2.running == before - 1
    with pytest.raises(InputError, match=r"gives 10 frames a second in place of the 5 of"):
        open_source("picamera:0", camera=CameraSettings(fps=5))
