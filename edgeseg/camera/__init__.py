"""Run the live loop: newest frame in, class map out, with the age of what is shown."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeseg.camera.loop import Camera, SegmentedFrame

__all__ = ["Camera", "SegmentedFrame"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the loop needs numpy and OpenCV.
    if name in __all__:
        return getattr(importlib.import_module("edgeseg.camera.loop"), name)
    raise AttributeError(f"module 'edgeseg.camera' has no attribute '{name}'")
