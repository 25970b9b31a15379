"""Send rendered frames to a video file, images, ffmpeg, a page in the browser or a window; one sink per module."""

from __future__ import annotations

import os
from pathlib import Path

from edgeseg.errors import InputError, did_you_mean
from edgeseg.sinks.base import Sink
from edgeseg.sinks.ffmpeg_pipe import FfmpegPipe
from edgeseg.sinks.images import ImageFiles
from edgeseg.sinks.mjpeg import MjpegServer
from edgeseg.sinks.video_file import CODECS, VideoFile
from edgeseg.sinks.window import Window

__all__ = [
    # The contract
    "Sink",
    # Saved
    "open_sink",
    "VideoFile",
    "ImageFiles",
    "FfmpegPipe",
    # Watched
    "MjpegServer",
    "Window",
]


def open_sink(text: str, *, fps: float, overwrite: bool = False, live: bool = False) -> Sink:
    """Open the sink that a text names.

    Args:
        text: a video file (``out.mp4``), a folder for images (``frames/``), or ``ffmpeg:`` and what ffmpeg is to write:
            a URL, a file, or a virtual camera (``ffmpeg:/dev/video10``).
        fps: frames per second of a video, above 0.
        overwrite: whether existing files may be replaced.
        live: the frames come at an uneven rate, and a video is to play as long as they took (see ``VideoFile``).

    Raises:
        InputError: the text names no sink, the file exists, the folder cannot be written, or the frame rate is 0.
        BackendUnavailable: ``ffmpeg:`` without ffmpeg on the PATH.
    """
    if text.startswith("ffmpeg:"):
        return FfmpegPipe(text.removeprefix("ffmpeg:"), fps=fps, overwrite=overwrite, live=live)
    path = Path(text)
    if text and (text.endswith(("/", os.sep)) or path.is_dir() or not path.suffix):
        return ImageFiles(path, overwrite=overwrite)
    if path.suffix.lower() in CODECS:
        return VideoFile(path, fps=fps, overwrite=overwrite, live=live)
    raise InputError(
        f"frames cannot be saved as '{text}'; accepted: a video file ({', '.join(CODECS)}), a folder for images "
        f"('frames/'), or 'ffmpeg:' and a URL or file.{did_you_mean(path.suffix.lower(), CODECS)}"
    )
