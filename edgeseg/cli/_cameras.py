"""Print the cameras of this machine and the line to use for each (``edgeseg doctor --cameras``)."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from edgeseg._internal.text import counted
from edgeseg.cli._terminal import print_json, print_table, say

if TYPE_CHECKING:
    from edgeseg.sources.cameras.listing import CsiCamera, CsiMode
    from edgeseg.sources.cameras.v4l2 import Device, Mode

#: Sizes of a format that are printed; all of them are in the JSON.
_MOST_SIZES = 6


def show_cameras(*, as_json: bool) -> None:
    """Print the cameras, and what each way to read them needs."""
    from edgeseg.sources.cameras import listing, v4l2

    devices, csi, needs = v4l2.devices(), listing.csi_cameras(), listing.needs()
    if as_json:
        print_json(
            {
                "format_version": 1,
                "devices": [{**dataclasses.asdict(one), "line": listing.line_for(one)} for one in devices],
                "csi": [{**dataclasses.asdict(one), "line": listing.csi_line(one)} for one in csi],
                "needs": [dataclasses.asdict(need) for need in needs],
            }
        )
        return
    cameras = [one for one in devices if one.kind != "other"]
    # Blocks, not a table: a line to type must not fold.
    for device in cameras:
        _say_block(f"{device.path}: {device.name} ({device.driver})", [*_formats(device), listing.line_for(device)])
    for camera in csi:
        _say_block(f"csi:{camera.index}: {camera.name} ({camera.sensor})", [*_modes(camera), listing.csi_line(camera)])
    if sys.platform != "linux":
        say("Cameras cannot be listed on this system: try edgeseg camera --source 0, then 1, and so on.")
    elif not (cameras or csi):
        say("No camera: no /dev/video* delivers images and may be opened, and libcamera lists none.")
    if others := len(devices) - len(cameras):
        say(f"Not listed: {counted(others, 'video device')} that encodes, decodes or delivers no image.")
    say("")
    print_table(
        ["For", "Needs", "Installed", "What to do"],
        [[need.use, need.name, "yes" if need.there else "no", need.install or "ok"] for need in needs],
    )


def _say_block(head: str, lines: list[str]) -> None:
    say(head)
    for line in lines:
        say(f"  {line}")


def _formats(device: Device) -> Iterator[str]:
    """Yield the largest sizes of each format; of a device that gives no image that it does not."""
    if device.kind == "raw":
        yield "opens and gives no image: it delivers the sensor's data to libcamera"
    for name, modes in groupby(device.modes, key=lambda mode: mode.format):
        yield f"{name}: {_sizes(list(modes))}"


def _modes(camera: CsiCamera) -> Iterator[str]:
    """Yield the sizes of the sensor by the part of it that they show."""
    for crop, modes in groupby(sorted(set(camera.modes), key=lambda mode: mode.crop), key=lambda mode: mode.crop):
        yield f"shows {crop}: {_sizes(list(modes))}"


def _sizes(modes: Sequence[Mode | CsiMode]) -> str:
    """Return the largest sizes and the frames a second of each."""
    largest = sorted(modes, key=lambda mode: -mode.size_wh[0] * mode.size_wh[1])
    sizes = [
        "{}x{}".format(*mode.size_wh) + ("" if mode.fps is None else f" at {mode.fps:g}")
        for mode in largest[:_MOST_SIZES]
    ]
    return ", ".join(sizes) + (", ..." if len(largest) > _MOST_SIZES else "")
