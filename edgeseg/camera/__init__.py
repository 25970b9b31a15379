"""The live loop: newest frame in, class map out, and how old what is shown is."""

from edgeseg.camera.loop import Camera

__all__ = ["Camera"]
