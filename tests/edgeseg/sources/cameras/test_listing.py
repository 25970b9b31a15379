"""``listing``: cameras by what their programs print, and the line that reads each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import pytest

from edgeseg.errors import InputError
from edgeseg.sources import open_source
from edgeseg.sources.cameras import listing, v4l2
from edgeseg.sources.cameras.listing import CsiCamera, CsiMode

#: As in the documentation of rpicam-apps, with the spaces of ``core/options.cpp``.
LISTING = """\
Available cameras
-----------------
0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 [206.65 fps - (1000, 752)/1280x960 crop]
                             1640x1232 [41.85 fps - (0, 0)/3280x2464 crop]
           'SRGGB8' : 640x480 [206.65 fps - (1000, 752)/1280x960 crop]

1 : ov9281 [1280x800 10-bit MONO] (/base/soc/i2c0mux/i2c@1/ov9281@60)
    Modes: 'R10_CSI2P' : 1280x800 [143.66 fps - (0, 0)/1280x800 crop]

"""


def test_the_listing_of_libcamera_is_read() -> None:
    small = CsiMode((640, 480), 206.65, "(1000, 752)/1280x960")
    assert listing.read_listing(LISTING) == [
        CsiCamera(
            0, "imx219", "3280x2464 10-bit RGGB", (small, CsiMode((1640, 1232), 41.85, "(0, 0)/3280x2464"), small)
        ),
        CsiCamera(1, "ov9281", "1280x800 10-bit MONO", (CsiMode((1280, 800), 143.66, "(0, 0)/1280x800"),)),
    ]
    assert listing.read_listing("No cameras available!\n") == []


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script")
def test_the_program_of_an_older_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "libcamera-hello"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nassert sys.argv[1:] == ['--list-cameras']\nprint('''{LISTING}''')"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [camera.name for camera in listing.csi_cameras()] == ["imx219", "ov9281"]
    monkeypatch.setenv("PATH", os.devnull)
    assert listing.csi_cameras() == []


def test_the_line_of_each_device_reads_it(video_devices: Path) -> None:
    lines = {Path(one.path).name: listing.line_for(one) for one in v4l2.devices()}
    source = f"edgeseg camera --source {video_devices}/"
    assert lines == {
        # YUYV has 10 a second of that size.
        "video0": f"{source}video0 --camera-size 1280x720 --camera-fps 60 --camera-format mjpeg",
        "video1": "",
        "video2": "edgeseg camera --source csi:",
        "video9": f"{source}video9",
        "video10": "",
    }


@pytest.mark.parametrize(
    ("system", "boards", "gstreamer"),
    [
        ("linux", ["csi:", "picamera:"], "sudo apt install gstreamer1.0-tools "),
        ("darwin", [], "brew install gstreamer"),
        ("win32", [], "https://gstreamer.freedesktop.org/download/"),
    ],
)
def test_what_is_missing_has_its_command(
    system: str, boards: list[str], gstreamer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: False)
    monkeypatch.setattr(sys, "platform", system)
    needs = {need.use: need for need in listing.needs()}
    assert list(needs) == [*boards, "gst:", "--save camera:"]
    assert needs["gst:"].install.startswith(gstreamer)
    assert not boards or needs["csi:"].install == "sudo apt install rpicam-apps"
    assert all(bool(need.install) != need.there for need in needs.values())
    if not boards:
        with pytest.raises(InputError, match=r"^'csi:' is a camera of Raspberry Pi, which Linux has; a webcam is 0, 1"):
            open_source("csi:")
