"""List the cameras of this machine, and what each way to read them needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib.util import find_spec

import cv2

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import escaped
from edgeseg.sources.cameras import gstreamer, picamera, rpicam, v4l2
from edgeseg.sources.cameras.webcam import FOURCC

#: What a proposed mode has at most: a model's input is smaller, and the frame is drawn at its own size.
_LARGEST_WH = (1280, 720)
_FEWEST_FPS = 24.0

#: Programs that list the cameras of libcamera.
_LISTERS = ("rpicam-hello", "libcamera-hello")
_LISTING_S = 10.0
_LONGEST_LISTING = 1 << 20

# ``0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)``, then its modes, of which each has
# ``1640x1232 [41.85 fps - (0, 0)/3280x2464 crop]``: rpicam-apps, ``core/options.cpp``.
_CSI_CAMERA = re.compile(r"(\d{1,2}) : (\S{1,60}) \[(.{0,100}?)\] \(")
_CSI_MODE = re.compile(r"(\d{1,5})x(\d{1,5}) \[(\d{1,5}\.?\d{0,3}) fps - (\(\d{1,5}, \d{1,5}\)/\d{1,5}x\d{1,5}) crop\]")


@dataclass(frozen=True)
class CsiMode:
    """A size of a sensor.

    Attributes:
        size_wh: width and height in pixels.
        fps: the highest frame rate.
        crop: the part of the sensor that it shows, as ``(0, 0)/3280x2464``.
    """

    size_wh: tuple[int, int]
    fps: float
    crop: str


@dataclass(frozen=True)
class CsiCamera:
    """A camera of libcamera.

    Attributes:
        index: its number.
        name: of the sensor.
        sensor: its size and format, as ``3280x2464 10-bit RGGB``.
        modes: its sizes.
    """

    __repr__ = short_repr

    index: int
    name: str
    sensor: str
    modes: tuple[CsiMode, ...]


@dataclass(frozen=True)
class Need:
    """A program or package that cameras are read or written with.

    Attributes:
        use: what needs it, as it is typed.
        name: of the program or package.
        there: whether it is installed.
        install: the command that installs it, or its address; empty where it is there.
    """

    use: str
    name: str
    there: bool
    install: str


def csi_cameras() -> list[CsiCamera]:
    """Return the cameras that libcamera lists; empty without its programs."""
    program = next(filter(None, map(shutil.which, _LISTERS)), None)
    if program is None:
        return []
    command = [program, "--list-cameras"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        timer = threading.Timer(_LISTING_S, process.kill)
        timer.start()
        try:
            text = process.stdout.read(_LONGEST_LISTING).decode(errors="replace")
        finally:
            timer.cancel()
            process.kill()
    return read_listing(text)


def read_listing(text: str) -> list[CsiCamera]:
    """Return the cameras of what ``rpicam-hello --list-cameras`` prints."""
    starts = list(_CSI_CAMERA.finditer(text))
    ends = [*(start.start() for start in starts), len(text)][1:]
    return [
        CsiCamera(
            int(start[1]),
            escaped(start[2]),
            escaped(start[3]),
            tuple(
                CsiMode((int(mode[1]), int(mode[2])), float(mode[3]), escaped(mode[4]))
                for mode in _CSI_MODE.finditer(text, start.end(), end)
            ),
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def needs() -> list[Need]:
    """Return what the ways to read a camera of this system need, and what writes to a virtual one."""
    opencv_has_gstreamer = cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)
    boards = [
        _need("csi:", "rpicam-vid", any(map(shutil.which, rpicam.PROGRAMS)), rpicam.INSTALL),
        _need("picamera:", "picamera2", picamera.picamera2() is not None, picamera.INSTALL),
    ]
    return [
        *(boards if sys.platform == "linux" else ()),
        _need(
            "gst:",
            gstreamer.LAUNCH,
            opencv_has_gstreamer or shutil.which(gstreamer.LAUNCH) is not None,
            gstreamer.install(),
        ),
        _need("--save camera:", "pyvirtualcam", find_spec("pyvirtualcam") is not None, "pip install pyvirtualcam"),
    ]


def _need(use: str, name: str, there: bool, install: str) -> Need:
    return Need(use, name, there, "" if there else install)


def line_for(device: v4l2.Device) -> str:
    """Return the command that reads a video device: of a camera in a mode that it lists, empty where it is none."""
    if device.kind == "other":
        return ""
    if device.kind == "raw":
        return "edgeseg camera --source csi:"
    line = f"edgeseg camera --source {device.path}"
    mode = _proposed(device)
    if mode is None:
        return line
    names = {code: name for name, code in FOURCC.items()}
    line += " --camera-size {}x{}".format(*mode.size_wh)
    line += "" if mode.fps is None else f" --camera-fps {mode.fps:g}"
    return f"{line} --camera-format {names[mode.format]}"


def csi_line(camera: CsiCamera) -> str:
    """Return the command that reads a camera of libcamera."""
    return f"edgeseg camera --source csi:{camera.index}"


def _proposed(device: v4l2.Device) -> v4l2.Mode | None:
    """Return the largest mode that is fluent and not too large; of one size not JPEG, which must be decoded."""
    fitting = [
        mode
        for mode in device.modes
        if mode.format in FOURCC.values()
        and mode.size_wh[0] <= _LARGEST_WH[0]
        and mode.size_wh[1] <= _LARGEST_WH[1]
        and (mode.fps or _FEWEST_FPS) >= _FEWEST_FPS
    ]
    return max(
        fitting, key=lambda mode: (mode.size_wh[0] * mode.size_wh[1], mode.format != FOURCC["mjpeg"]), default=None
    )
