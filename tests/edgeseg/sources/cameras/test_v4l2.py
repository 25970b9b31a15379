"""``v4l2``: what video devices answer, in the structures of the kernel's header."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.sources.cameras import v4l2
from edgeseg.sources.cameras.v4l2 import Mode

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_devices_are_listed_with_what_they_are(video_devices: Path) -> None:
    found = v4l2.devices()
    assert [(Path(one.path).name, one.driver, one.kind) for one in found] == [
        ("video0", "uvcvideo", "camera"),
        ("video1", "uvcvideo", "other"),
        ("video2", "unicam", "raw"),
        ("video9", "v4l2 loopback", "camera"),
        ("video10", "bcm2835-codec", "other"),
    ]
    assert [one.name for one in found[::3]] == ["HD Pro Webcam C920", "Dummy \\x1b[31mvideo\N{REPLACEMENT CHARACTER}"]


def test_a_camera_lists_its_sizes_and_the_highest_rate_of_each(video_devices: Path) -> None:
    webcam, *_, loopback, _ = v4l2.devices()
    assert webcam.modes == (
        Mode("YUYV", (640, 480), 30),
        Mode("YUYV", (1280, 720), 10),
        Mode("YUYV", (2304, 1536), 2),
        Mode("MJPG", (640, 480), 30),
        Mode("MJPG", (1280, 720), 60),
        Mode("MJPG", (1920, 1080), 30),
    )
    assert loopback.modes == (Mode("YU12", (1920, 1080), 30),)


def test_what_is_no_video_device_is_none(video_devices: Path) -> None:
    assert v4l2.device(Path("/dev/null")) is None
    assert v4l2.device(video_devices / "video11") is None
    assert v4l2.device(video_devices / "video12") is None
