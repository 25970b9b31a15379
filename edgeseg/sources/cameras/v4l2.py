"""Ask Linux' video devices what they are and what they deliver, by the ioctls of ``linux/videodev2.h``.

The numbers and sizes here are those that a C compiler prints for that header, of the kernel 6.1 (2026-11-30).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import escaped

#: Where devices are.
FOLDER = Path("/dev")

_QUERYCAP, _CAPABILITY = 0x80685600, 104
_ENUM_FMT, _FMTDESC = 0xC0405602, 64
_ENUM_FRAMESIZES, _FRMSIZEENUM = 0xC02C564A, 44
_ENUM_FRAMEINTERVALS, _FRMIVALENUM = 0xC034564B, 52

_VIDEO_CAPTURE = 0x1
_VIDEO_CAPTURE_MPLANE = 0x1000
_VIDEO_M2M = 0x4000 | 0x8000
#: The device is a part of a pipeline that a program must put together first: libcamera does.
_IO_MC = 0x20000000
_DEVICE_CAPS = 0x80000000

#: The drivers of Raspberry Pi's cameras. Those of kernels before ``V4L2_CAP_IO_MC`` do not say it.
_RAW_DRIVERS = frozenset({"unicam", "rp1-cfe", "bcm2835-isp", "pispbe"})

_DISCRETE = 1

#: What a device may list: more is no device.
_MOST_FORMATS, _MOST_SIZES, _MOST_RATES = 64, 128, 64

Kind = Literal["camera", "raw", "other"]


@dataclass(frozen=True)
class Mode:
    """A size that a camera delivers.

    Attributes:
        format: four letters, such as ``MJPG``.
        size_wh: width and height in pixels; the largest where any size up to it is accepted.
        fps: the highest frame rate; None where the driver does not list it.
    """

    format: str
    size_wh: tuple[int, int]
    fps: float | None


@dataclass(frozen=True, kw_only=True)
class Device:
    """A video device.

    Attributes:
        path: ``/dev/videoN``.
        name: of the hardware, as its driver says.
        driver: the name of the driver.
        kind: ``camera`` delivers images; ``raw`` opens and gives none to OpenCV, as it is libcamera's; ``other``
            encodes, decodes, delivers metadata or takes images.
        modes: of a camera, in the driver's order.
    """

    __repr__ = short_repr

    path: str
    name: str
    driver: str
    kind: Kind
    modes: tuple[Mode, ...]


def devices() -> list[Device]:
    """Return every video device that may be opened, by number; empty where there is none, and on other systems."""
    paths = sorted(FOLDER.glob("video*"), key=lambda path: (len(path.name), path.name))
    return [one for path in paths if (one := device(path)) is not None]


def device(path: Path) -> Device | None:
    """Return what a video device says of itself; None where it is none, or may not be opened."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        answer = _ask(descriptor, _QUERYCAP, bytes(_CAPABILITY))
        if answer is None:
            return None
        driver, card, capabilities, device_capabilities = struct.unpack("=16s32s32x4xII12x", answer)
        has = device_capabilities if capabilities & _DEVICE_CAPS else capabilities
        driver_name = _text(driver)
        kind = _kind(driver_name, has)
        buffer_type = 9 if has & _VIDEO_CAPTURE_MPLANE else 1
        modes = tuple(_modes(descriptor, buffer_type)) if kind == "camera" else ()
        return Device(path=str(path), name=_text(card), driver=driver_name, kind=kind, modes=modes)
    finally:
        os.close(descriptor)


def _kind(driver: str, has: int) -> Kind:
    if not has & (_VIDEO_CAPTURE | _VIDEO_CAPTURE_MPLANE) or has & _VIDEO_M2M:
        return "other"
    return "raw" if has & _IO_MC or driver in _RAW_DRIVERS else "camera"


def _modes(descriptor: int, buffer_type: int) -> Iterator[Mode]:
    for number in range(_MOST_FORMATS):
        answer = _ask(descriptor, _ENUM_FMT, struct.pack("=II56x", number, buffer_type))
        if answer is None:
            return
        code = answer[44:48]
        for size_wh in _sizes(descriptor, code):
            yield Mode(_text(code), size_wh, _highest_fps(descriptor, code, size_wh))


def _sizes(descriptor: int, code: bytes) -> Iterator[tuple[int, int]]:
    for number in range(_MOST_SIZES):
        answer = _ask(descriptor, _ENUM_FRAMESIZES, struct.pack("=I4s36x", number, code))
        if answer is None:
            return
        kind, *numbers = struct.unpack("=8xI6I8x", answer)
        if kind == _DISCRETE:
            yield numbers[0], numbers[1]
        else:  # from a smallest to a largest width, by a step, and so for the height
            yield numbers[1], numbers[4]
            return


def _highest_fps(descriptor: int, code: bytes, size_wh: tuple[int, int]) -> float | None:
    rates = []
    for number in range(_MOST_RATES):
        answer = _ask(descriptor, _ENUM_FRAMEINTERVALS, struct.pack("=I4sII36x", number, code, *size_wh))
        if answer is None:
            break
        kind, seconds, parts = struct.unpack("=16xIII24x", answer)  # an interval of seconds / parts, the shortest first
        if seconds and parts:
            rates.append(parts / seconds)
        if kind != _DISCRETE:
            break
    return max(rates, default=None)


def _ask(descriptor: int, request: int, argument: bytes) -> bytes | None:
    """Return what an ioctl answers; None at the end of a list, and where the device does not know it."""
    import fcntl

    try:
        return fcntl.ioctl(descriptor, request, argument)
    except OSError:
        return None


def _text(raw: bytes) -> str:
    return escaped(raw.split(b"\0")[0].decode(errors="replace").strip())
