"""A stand-in for ``rpicam-vid`` on the PATH, and for what video devices answer."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

#: How long a process may take to go; waited for and not slept.
GONE_S = 10.0


class Rpicam:
    """The program; what it does is set before it is started."""

    def __init__(self, pids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pids = pids
        self._monkeypatch = monkeypatch
        self.does()

    def does(self, **behavior: Any) -> None:
        """Set what it does, as its own first lines say."""
        self._monkeypatch.setenv("STAND_IN", json.dumps({"pid": str(self._pids), **behavior}))

    def pids(self) -> list[int]:
        """Return the processes that were started so far."""
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []


@pytest.fixture
def rpicam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rpicam:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "rpicam-vid"
    program.write_text(f"#!{sys.executable}\n{Path(__file__).with_name('rpicam_vid.py').read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return Rpicam(tmp_path / "pids", monkeypatch)


@pytest.fixture
def gone() -> Callable[[list[int]], bool]:
    """Returns whether processes end."""

    def ended(pids: list[int]) -> bool:
        deadline = time.monotonic() + GONE_S
        while any(_runs(pid) for pid in pids):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    return ended


def _runs(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


class Capability(ctypes.Structure):
    """``struct v4l2_capability``, as the other three as ``linux/videodev2.h`` has them."""

    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("device_caps", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    )


class FormatDescription(ctypes.Structure):
    """``struct v4l2_fmtdesc``."""

    _fields_ = (
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", ctypes.c_char * 4),
        ("mbus_code", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    )


class FrameSize(ctypes.Structure):
    """``struct v4l2_frmsizeenum``; the numbers are those of ``stepwise``."""

    _fields_ = (
        ("index", ctypes.c_uint32),
        ("pixel_format", ctypes.c_char * 4),
        ("type", ctypes.c_uint32),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )


class FrameInterval(ctypes.Structure):
    """``struct v4l2_frmivalenum``; the numbers are those of ``stepwise``."""

    _fields_ = (
        ("index", ctypes.c_uint32),
        ("pixel_format", ctypes.c_char * 4),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )


#: The structure of each number of ``VIDIOC_...``.
STRUCTURES = {0: Capability, 2: FormatDescription, 74: FrameSize, 75: FrameInterval}


@dataclass
class VideoDevice:
    """What a device answers; sizes and rates in the order in which a driver lists them."""

    driver: bytes
    card: bytes
    device_caps: int
    capabilities: int = 0x80000000
    #: Format, then sizes, then rates; a size of six numbers is one of steps.
    modes: Mapping[bytes, Mapping[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def answer(self, asked: ctypes.Structure) -> None:
        """Write the answer into what was asked; ``IndexError`` at the end of a list."""
        match asked:
            case Capability():
                asked.driver, asked.card = self.driver, self.card
                asked.capabilities, asked.device_caps = self.capabilities, self.device_caps
            case FormatDescription():
                assert asked.type == (9 if self.device_caps & 0x1000 else 1)
                asked.pixelformat = list(self.modes)[asked.index]
            case FrameSize():
                numbers = list(self.modes[asked.pixel_format])[asked.index]
                asked.type = 1 if len(numbers) == 2 else 3
                asked.numbers[: len(numbers)] = numbers
            case FrameInterval():
                sizes = self.modes[asked.pixel_format]
                rates = next(
                    rates
                    for size, rates in sizes.items()
                    if (asked.width, asked.height) in ((size[0], size[1]), (size[1], size[-2]))
                )
                asked.type, asked.numbers[0], asked.numbers[1] = 1, 1, rates[asked.index]


#: A webcam as most are, with its second node for metadata; a camera, an ISP and a codec of Raspberry Pi.
WEBCAM = VideoDevice(
    b"uvcvideo",
    b"HD Pro Webcam C920",
    0x04200001,
    modes={
        b"YUYV": {(640, 480): (15, 30), (1280, 720): (5, 10), (2304, 1536): (2,)},
        b"MJPG": {(640, 480): (30,), (1280, 720): (30, 60), (1920, 1080): (30,)},
    },
)
METADATA = VideoDevice(b"uvcvideo", b"HD Pro Webcam C920", 0x04A00000)
UNICAM = VideoDevice(b"unicam", b"unicam", 0x25200001, modes={b"pRAA": {(3280, 2464): (21,)}})
CODEC = VideoDevice(b"bcm2835-codec", b"bcm2835-codec-decode", 0x04204000)
LOOPBACK = VideoDevice(
    b"v4l2 loopback",
    b"Dummy \x1b[31mvideo\xff",
    0x05200001,
    modes={b"YU12": {(2, 1920, 2, 2, 1080, 2): (30,)}},
)


@pytest.fixture
def video_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ``video0`` to ``video10``, of which the last two are no devices."""
    fcntl = pytest.importorskip("fcntl", reason="video devices are Linux'")
    devices = {"video0": WEBCAM, "video1": METADATA, "video2": UNICAM, "video9": LOOPBACK, "video10": CODEC}
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in (*devices, "video11"):
        (folder / name).touch()

    def ioctl(descriptor: int, request: int, argument: bytes) -> bytes:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        structure = STRUCTURES[request & 0xFF]
        assert (request >> 16) & 0x3FFF == ctypes.sizeof(structure) == len(argument)
        if name not in devices:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        asked = structure.from_buffer_copy(argument)
        try:
            devices[name].answer(asked)
        except IndexError:
            raise OSError(errno.EINVAL, "Invalid argument") from None
        return bytes(asked)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    monkeypatch.setattr("edgeseg.sources.cameras.v4l2.FOLDER", folder)
    return folder
