"""The live loop: newest frame in, class map out, and how old what is shown is."""

from edgeseg.camera.loop import Camera, SegmentedFrame

__all__ = ["Camera", "SegmentedFrame"]
