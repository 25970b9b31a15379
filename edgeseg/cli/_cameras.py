"""Print the cameras of this machine and the line to use for each (``edgeseg doctor --cameras``)."""

from __future__ import annotations

import dataclasses
import sys
from itertools import groupby
from typing import TYPE_CHECKING

from edgeseg._internal.text import counted
from edgeseg.cli._terminal import print_json, print_table, say

if TYPE_CHECKING:
    from edgeseg.sources.cameras.v4l2 import Device

#: Sizes of a format that are printed; all of them are in the JSON.
_MOST_SIZES = 4


def show_cameras(*, as_json: bool) -> None:
    """Print the cameras, and what each way to read them needs."""
    from edgeseg.sources.cameras import listing, v4l2

    devices, csi, needs = v4l2.devices(), listing.csi_cameras(), listing.needs()
    if as_json:
        print_json(
            {
                "format_version": 1,
                "devices": [{**dataclasses.asdict(one), "line": _line(one)} for one in devices],
                "csi": [{**dataclasses.asdict(one), "line": f"edgeseg camera --source csi:{one.index}"} for one in csi],
                "needs": [dataclasses.asdict(need) for need in needs],
            }
        )
        return
    rows = [[one.path, one.name, one.driver, _modes(one), _line(one)] for one in devices if one.kind != "other"]
    for camera in csi:
        sizes = ", ".join("{}x{}".format(*mode.size_wh) + f" at {mode.fps:g}" for mode in camera.modes)
        rows.append([
            f"csi:{camera.index}", camera.name, "libcamera", sizes, f"edgeseg camera --source csi:{camera.index}"
        ])  # fmt: skip
    if rows:
        print_table(["Camera", "Name", "Driver", "Sizes, frames a second", "What to type"], rows)
    elif sys.platform == "linux":
        say("no camera: there is no /dev/video* that delivers images and may be opened, and libcamera lists none")
    if sys.platform != "linux":
        say("cameras cannot be listed on this system: try edgeseg camera --source 0, then 1, and so on")
    if others := sum(one.kind == "other" for one in devices):
        say(f"{counted(others, 'video device')} that encodes, decodes or delivers no image: not listed")
    say("")
    print_table(
        ["For", "Needs", "Installed", "What to do"],
        [[need.use, need.name, "yes" if need.there else "no", need.install or "ok"] for need in needs],
    )


def _line(device: Device) -> str:
    from edgeseg.sources.cameras.listing import line_for

    return "" if device.kind == "other" else line_for(device)


def _modes(device: Device) -> str:
    """Return the sizes of each format; of a device that gives no image that it does not."""
    if device.kind == "raw":
        return "opens and gives no image: it is libcamera's"
    parts = []
    for name, modes in groupby(device.modes, key=lambda mode: mode.format):
        largest = sorted(modes, key=lambda mode: -mode.size_wh[0] * mode.size_wh[1])
        sizes = [
            "{}x{}".format(*mode.size_wh) + ("" if mode.fps is None else f" at {mode.fps:g}")
            for mode in largest[:_MOST_SIZES]
        ]
        more = ", ..." if len(largest) > _MOST_SIZES else ""
        parts.append(f"{name} {', '.join(sizes)}{more}")
    return "; ".join(parts)
