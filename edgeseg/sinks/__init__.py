"""Send rendered frames to a video file, images, a server, a page in the browser or a window; one sink per module."""

from __future__ import annotations

from pathlib import Path

from edgeseg.sinks.base import Sink, TimedSink
from edgeseg.sinks.cameras.virtual import VirtualCamera
from edgeseg.sinks.ffmpeg_pipe import FfmpegPipe
from edgeseg.sinks.images import ImageFile, ImageFiles, NumberedImages
from edgeseg.sinks.mjpeg import MjpegServer
from edgeseg.sinks.stream import PushedStream, is_stream
from edgeseg.sinks.targets import target_kind
from edgeseg.sinks.video_file import VideoFile
from edgeseg.sinks.window import Window
from edgeseg.video.encode import FORMATS
from edgeseg.video.library import has_av

__all__ = [
    # The contract
    "Sink",
    "TimedSink",
    # Saved
    "open_sink",
    "VideoFile",
    "ImageFile",
    "ImageFiles",
    "NumberedImages",
    "FfmpegPipe",
    # Sent
    "PushedStream",
    "VirtualCamera",
    # Watched
    "MjpegServer",
    "Window",
]


def open_sink(text: str, *, fps: float, overwrite: bool = False, live: bool = False, sound: str | None = None) -> Sink:
    """Open the sink that a text names.

    Args:
        text: a video file (``out.mp4``), an image file for a single frame (``out.png``), a folder for images
            (``frames/`` or ``frames/*.png``), numbered images (``frames/name_%04d.png``), the URL of a server
            (``rtmp://host/live/key``), a virtual camera (``camera:``, ``camera:/dev/video10``), or ``ffmpeg:`` and what
            ffmpeg is to write: a URL, a file, or a virtual camera of Linux (``ffmpeg:/dev/video10``).
        fps: frames per second of a video, above 0.
        overwrite: whether existing files may be replaced.
        live: the frames come at an uneven rate, and a video is to play as long as they took (see ``VideoFile``).
        sound: a file whose sound a video gets where it fits (see ``VideoFile``).

    Raises:
        InputError: the text names no sink, the file exists, the folder cannot be written, or the frame rate is 0.
        BackendUnavailable: what it needs is not installed.
    """
    target = text.removeprefix("ffmpeg:")
    match target_kind(text):
        case "camera":
            return VirtualCamera(text.removeprefix("camera:"), fps=fps, live=live)
        case "stream":
            return PushedStream(target, fps=fps)
        case "ffmpeg" if is_stream(target):
            return PushedStream(target, fps=fps)
        case "ffmpeg" if has_av() and Path(target).suffix.lower() in FORMATS:
            return VideoFile(Path(target), fps=fps, overwrite=overwrite, live=live, sound=sound)
        case "ffmpeg":
            return FfmpegPipe(target, fps=fps, overwrite=overwrite, live=live)
        case "folder":
            return ImageFiles(Path(text), overwrite=overwrite)
        case "named":
            return ImageFiles(Path(text).parent, suffix=Path(text).suffix, overwrite=overwrite)
        case "numbered":
            return NumberedImages(Path(text), overwrite=overwrite)
        case "image":
            return ImageFile(Path(text), overwrite=overwrite)
        case "video":
            return VideoFile(Path(text), fps=fps, overwrite=overwrite, live=live, sound=sound)
