"""``virtual``: a virtual camera, with a stand-in for pyvirtualcam, and with the real one where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError, SinkLost
from edgeseg.sinks import open_sink


class Camera:
    """``pyvirtualcam.Camera``: what it was given."""

    sent: list[Any] = []  # noqa: RUF012
    waited = 0
    closed = False

    def __init__(self, width: int, height: int, fps: float, *, fmt: str, device: str | None) -> None:
        self.asked = (width, height, fps, fmt, device)
        if device == "busy":
            raise RuntimeError("'v4l2loopback' backend: busy.\n'obs' backend: not running.")
        Camera.sent, Camera.waited, Camera.closed = [self.asked], 0, False

    def send(self, frame: np.ndarray) -> None:
        assert frame.flags.c_contiguous
        if len(Camera.sent) > 2:
            raise RuntimeError("error writing frame")
        Camera.sent.append(frame.shape)

    def sleep_until_next_frame(self) -> None:
        Camera.waited += 1

    def close(self) -> None:
        Camera.closed = True


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("pyvirtualcam")
    vars(module).update(Camera=Camera, PixelFormat=SimpleNamespace(BGR="bgr"))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("live", [True, False])
def test_frames_are_sent_in_the_size_of_the_first(live: bool) -> None:
    sink = open_sink("camera:", fps=30, live=live)
    sink.write(np.zeros((61, 81, 3), np.uint8), "a")
    sink.write(np.zeros((240, 320, 3), np.uint8), "b")
    assert Camera.sent == [(80, 60, 30, "bgr", None), (60, 80, 3), (60, 80, 3)]
    assert Camera.waited == (0 if live else 2)
    with pytest.raises(SinkLost, match=r"^'camera:' takes no more frames: error writing frame\.$"):
        sink.write(np.zeros((61, 81, 3), np.uint8), "c")
    sink.close()
    sink.close()
    assert Camera.closed


@pytest.mark.usefixtures("package")
def test_a_camera_that_does_not_open_is_one_line() -> None:
    sink = open_sink("camera:busy", fps=30)
    with pytest.raises(
        InputError, match=r"^'camera:busy' cannot be opened: 'v4l2loopback' backend: busy\.; 'obs' .*ing\.$"
    ):
        sink.write(np.zeros((60, 80, 3), np.uint8), "a")
    sink.close()


@pytest.mark.skipif(sys.platform != "linux", reason="devices are Linux'")
def test_a_device_that_is_not_there_is_told_before_a_frame(tmp_path: Path) -> None:
    for device, make in (
        ("/dev/video97", r"make a virtual camera first: sudo modprobe v4l2loopback video_nr=97$"),
        ("/dev/front", r"a virtual camera is /dev/video10 after: sudo modprobe v4l2loopback video_nr=10$"),
    ):
        with pytest.raises(InputError, match=rf"^'{device}' is no device; {make}"):
            open_sink(f"camera:{device}", fps=30)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(BackendUnavailable, match=r"'camera:' needs pyvirtualcam, .* with: pip install pyvirtualcam$"):
        open_sink("camera:", fps=30)


@pytest.mark.skipif(sys.platform != "linux" or Path("/dev/video0").exists(), reason="there may be a virtual camera")
def test_the_real_package_without_a_device_is_one_line() -> None:
    pytest.importorskip("pyvirtualcam", exc_type=ImportError)
    sink = open_sink("camera:", fps=30)
    with pytest.raises(
        InputError, match=r"^'camera:' cannot be opened: 'v4l2loopback' backend: .*modprobe v4l2loopback"
    ):
        sink.write(np.zeros((60, 80, 3), np.uint8), "a")
    sink.close()
