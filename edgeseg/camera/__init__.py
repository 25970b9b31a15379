"""Run the live loop: newest frame in, class map out, with the age of what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names

if TYPE_CHECKING:
    from edgeseg.camera.loop import Camera, SegmentedFrame
    from edgeseg.camera.trace import Trace

__all__ = ["Camera", "SegmentedFrame", "Trace"]

# Loaded on first use: the loop needs numpy and OpenCV, but the command line reads Look's defaults alone.
__getattr__, __dir__ = lazy_names(
    __name__,
    {"Camera": "edgeseg.camera.loop", "SegmentedFrame": "edgeseg.camera.loop", "Trace": "edgeseg.camera.trace"},
)
