"""Read images from files, cameras and streams.

``frames`` reads files one after the other, for results that go by name. ``open_source`` opens anything that delivers
frames, including cameras and streams, for a loop that shows them.
"""

from edgeseg.sources.base import Captured, Source, is_still
from edgeseg.sources.cameras.settings import CameraSettings
from edgeseg.sources.files import expand
from edgeseg.sources.images import Frame, frames
from edgeseg.sources.opening import open_source
from edgeseg.sources.video import VIDEO_SUFFIXES

__all__ = [
    "Frame",
    "expand",
    "frames",
    "Captured",
    "Source",
    "is_still",
    "open_source",
    "CameraSettings",
    "VIDEO_SUFFIXES",
]
