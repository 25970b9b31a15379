"""Read one video from beginning to end, and report frames that are missing.

FFmpeg's libraries decode it where PyAV is installed, OpenCV's own ffmpeg where it is not, and Pillow decodes animated
images.
"""

from __future__ import annotations

import functools
import logging
from contextlib import closing
from pathlib import PurePath
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import counted, masked
from edgeseg.errors import InputError, SourceLost
from edgeseg.sources.animation import ANIMATED_SUFFIXES, AnimationReel
from edgeseg.sources.opencv import OpencvReel
from edgeseg.video.container import Opened, open_container
from edgeseg.video.decode import NoFrame, Reader, content_of
from edgeseg.video.library import available

# The package's own name: what a user sees and filters by.
_log = logging.getLogger("edgeseg.sources")

#: What a folder's files are called that are videos. A file of another name is read as well where it is named itself.
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".flv", ".wmv", ".asf", ".rm"}
    | {".ogv", ".ogg", ".nut", ".ivf", ".dv", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".mxf", ".y4m"}
    | {".m2v", ".mjpeg", ".mjpg", ".h264", ".264", ".hevc", ".h265", ".265", ".obu", ".gif", ".apng"}
)


class Reel(Protocol):
    """A video that a decoder has opened.

    Attributes:
        fps: frames per second; ``None`` where it does not say.
        estimated: ``claimed`` was computed from the duration.
        still: it is one image.
    """

    fps: float | None
    estimated: bool
    still: bool

    @property
    def claimed(self) -> int:
        """Frames that it says it has; 0 where it does not."""

    @property
    def damaged(self) -> int:
        """Places that could not be decoded so far."""

    @property
    def time_s(self) -> float:
        """When the current frame is shown, in seconds from the first."""

    @property
    def frame_s(self) -> float:
        """How long the current frame is shown, in seconds."""

    def grab(self) -> bool:
        """Go to the next frame; False after the last."""

    def retrieve(self) -> NDArray[np.uint8] | None:
        """Return the current frame ``(h, w, 3)`` uint8 BGR; None where it does not decode."""

    def close(self) -> None:
        """Close the file."""


class FfmpegReel:
    """A ``Reel`` of FFmpeg's libraries."""

    def __init__(self, opened: Opened, *, timeout_s: float | None = None) -> None:
        """Take over an open container; ``close`` closes it."""
        self._reader = Reader(opened, timeout_s=timeout_s)
        self.fps = opened.fps
        self.estimated = opened.estimated
        self.still = opened.still
        self._claimed = opened.num_frames
        self._end_s = 0.0

    @property
    def claimed(self) -> int:
        """Frames that the container has and shows; with damage, as many as fit into the time that was read."""
        if self._claimed or not (self.damaged and self.fps):
            return max(0, self._claimed - self._reader.discarded)
        return round(self._end_s * self.fps)

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded, or that the container calls corrupt, so far."""
        return self._reader.damaged

    @property
    def time_s(self) -> float:
        """When the current frame is shown, by the container's time stamps."""
        return self._reader.time_s

    @property
    def frame_s(self) -> float:
        """How long the current frame is shown, by the container's time stamps."""
        return self._reader.frame_s

    def grab(self) -> bool:
        """Go to the next frame; False after the last."""
        if not self._reader.grab():
            return False
        self._end_s = self.time_s + self.frame_s
        return True

    def retrieve(self) -> NDArray[np.uint8]:
        """Return the current frame as BGR."""
        return self._reader.retrieve()

    def close(self) -> None:
        """Close the container."""
        self._reader.close()


def reel_of(opened: Opened, *, timeout_s: float | None = None) -> Reel:
    """Return what decodes an open container, and closes it: for WebP, whose animations FFmpeg does not decode, Pillow.

    Raises:
        InputError: a WebP does not decode.
        SourceLost: its connection broke.
    """
    if opened.format != "webp_pipe":
        return FfmpegReel(opened, timeout_s=timeout_s)
    with closing(opened):
        try:
            return AnimationReel(opened.name, content_of(opened))
        except NoFrame as error:
            raise SourceLost(f"'{opened.name}' broke off: {error}.") from error


class Video:
    """A video file, or one that an HTTP server delivers.

    Attributes:
        path: the file or URL that was opened.
        fps: frames per second as the file states them, on average; None when it does not.
        still: it is one image.
        decoded: frames grabbed so far.
        missing_frames: once ``grab`` has returned False: frames that the file claims to have and that did not decode.
    """

    def __init__(self, path: str, *, timeout_s: float | None = None, reel: Reel | None = None) -> None:
        """Open the video.

        Args:
            path: file or URL.
            timeout_s: how long a server may be silent; None for a file.
            reel: the video, where it is open already.

        Raises:
            InputError: it does not decode as a video.
        """
        self.path = path
        self._remote = timeout_s is not None
        self._reel = reel or _open(path, timeout_s)
        self.fps = self._reel.fps
        self.still = self._reel.still
        self.decoded = 0
        self.missing_frames = 0
        self._reached_s = 0.0

    @property
    def claimed(self) -> int:
        """Frames that the file says it has; 0 where it does not."""
        return self._reel.claimed

    @property
    def time_s(self) -> float:
        """When the current frame is shown, in seconds from the first."""
        return self._reel.time_s

    @property
    def frame_s(self) -> float:
        """How long the current frame is shown, in seconds."""
        return self._reel.frame_s

    def grab(self) -> bool:
        """Go to the next frame, without the cost of its colors; return False after the last.

        Raises:
            SourceLost: the video comes from a server, and ended before its length.
        """
        try:
            if self._reel.grab():
                self.decoded += 1
                self._reached_s = self._reel.time_s
                return True
        except NoFrame as error:
            raise SourceLost(f"{self._numbers()}: the connection broke ({error}).") from error
        self.missing_frames = self._count_missing()
        # The packet in which a connection broke is a damaged one as well.
        if self.missing_frames and self._remote and (not self._reel.damaged or self._ends_early()):
            raise SourceLost(f"{self._numbers()}: the connection broke, or the file is cut off.")
        return False

    def warn_of_missing(self) -> None:
        """Log both numbers, after the last frame, where the file claims more frames than decoded."""
        if self.missing_frames:
            _log.warning("%s: it is cut off or damaged.", self._numbers())
        elif self._reel.damaged:
            packets = counted(self._reel.damaged, "packet")
            _log.warning("'%s' is damaged in %s; no frame of it is missing.", masked(self.path), packets)

    def retrieve(self) -> NDArray[np.uint8]:
        """Return the frame that ``grab`` went to: ``(h, w, 3)`` uint8 BGR.

        Raises:
            InputError: it does not decode.
        """
        image_bgr = self._reel.retrieve()
        if image_bgr is None:
            raise InputError(f"frame {self.decoded - 1} of '{masked(self.path)}' does not decode.")
        return image_bgr

    def close(self) -> None:
        """Close the file. Not to be called while another thread is in ``grab``."""
        self._reel.close()

    def _numbers(self) -> str:
        return f"'{masked(self.path)}' says it has {counted(self.claimed, 'frame')}, but {self.decoded} decode"

    def _count_missing(self) -> int:
        missing = self.claimed - self.decoded
        if missing <= 0 or self.fps is None:
            return max(missing, 0)
        # A number that was computed from the duration is too high where the frame rate varies or the sound is longer.
        # It counts only when the frames end a second or more before.
        if self._reel.estimated and not self._reel.damaged and not self._ends_early():
            return 0
        return missing

    def _ends_early(self) -> bool:
        return self.fps is not None and self.claimed / self.fps - self._reached_s >= 1


def _open(path: str, timeout_s: float | None) -> Reel:
    if timeout_s is None and PurePath(path).suffix.lower() in ANIMATED_SUFFIXES:
        return AnimationReel(path)
    if available():
        return reel_of(open_container(path, timeout_s=timeout_s), timeout_s=timeout_s)
    _say_once()
    # Matroska states its duration, and OpenCV computes the number from it.
    suffix = PurePath(urlsplit(path).path if timeout_s is not None else path).suffix.lower()
    return OpencvReel(path, timeout_s=timeout_s, estimated=suffix in (".mkv", ".webm"))


@functools.cache
def _say_once() -> None:
    """Say what OpenCV does not do, where it matters: it reads an interlaced video as black images."""
    _log.warning(
        "videos are read by OpenCV, without time stamps, interlaced and AV1 video; "
        'pip install "edgeseg[video]" reads all of them.'
    )
