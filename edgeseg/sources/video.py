"""Read one video from beginning to end with OpenCV, and report frames that are missing at the end."""

from __future__ import annotations

import logging
from pathlib import PurePath
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import counted, masked
from edgeseg.errors import InputError, SourceLost
from edgeseg.sources.opencv import network_timeouts, quiet_opencv, stated_fps

# The package's own name: what a user sees and filters by.
_log = logging.getLogger("edgeseg.sources")

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})


class Video:
    """A video file, or one that an HTTP server delivers.

    Attributes:
        path: the file or URL that was opened.
        fps: frames per second as the file states them; None when it does not.
        claimed: frames that the file says it has; 0 where it does not.
        decoded: frames grabbed so far.
        missing_frames: once ``grab`` has returned False: frames that the file claims to have and that did not decode.
    """

    def __init__(self, path: str, *, timeout_s: float | None = None) -> None:
        """Open the video.

        Args:
            path: file or URL.
            timeout_s: how long a server may be silent; None for a file.

        Raises:
            InputError: it does not decode as a video.
        """
        self.path = path
        self._remote = timeout_s is not None
        with quiet_opencv():
            if timeout_s is None:
                self._capture = cv2.VideoCapture(path)
            else:
                self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, network_timeouts(timeout_s))
        if not self._capture.isOpened():
            self._capture.release()
            why = f"answer within {timeout_s:g} s, or not with a video" if timeout_s else "decode as a video"
            raise InputError(f"'{masked(path)}' does not {why}.")
        self.fps = stated_fps(self._capture)
        claimed = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)  # a huge negative number where there is no length
        self.claimed = int(claimed) if 0 < claimed < 2**31 else 0
        self._reached_s = 0.0
        self.decoded = 0
        self.missing_frames = 0

    def grab(self) -> bool:
        """Go to the next frame, without the cost of its colors; return False after the last.

        Raises:
            SourceLost: the video comes from a server, and ended before its length.
        """
        if self._capture.grab():
            self.decoded += 1
            self._reached_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            return True
        self.missing_frames = self._count_missing()
        if self.missing_frames and self._remote:
            raise SourceLost(f"{self._numbers()}: the connection broke, or the file is cut off.")
        return False

    def warn_of_missing(self) -> None:
        """Log both numbers, after the last frame, where the file claims more frames than decoded."""
        if self.missing_frames:
            _log.warning("%s: it is cut off or damaged.", self._numbers())

    def retrieve(self) -> NDArray[np.uint8]:
        """Return the frame that ``grab`` went to: ``(h, w, 3)`` uint8 BGR.

        Raises:
            InputError: it does not decode.
        """
        ok, image_bgr = self._capture.retrieve()
        if not ok:
            raise InputError(f"frame {self.decoded - 1} of '{masked(self.path)}' does not decode.")
        return image_bgr  # type: ignore[return-value]

    def close(self) -> None:
        """Close the file. Not to be called while another thread is in ``grab``."""
        self._capture.release()

    def _numbers(self) -> str:
        return f"'{masked(self.path)}' says it has {counted(self.claimed, 'frame')}, but {self.decoded} decode"

    def _count_missing(self) -> int:
        missing = self.claimed - self.decoded
        if missing <= 0 or self.fps is None:
            return max(missing, 0)
        # Matroska states its duration, and OpenCV computes the number from it: too high where the frame rate varies or
        # the sound is longer. There it counts only when the frames end a second or more before.
        estimated = PurePath(urlsplit(self.path).path if self._remote else self.path).suffix.lower() in (
            ".mkv",
            ".webm",
        )
        if estimated and self.claimed / self.fps - self._reached_s < 1:
            return 0
        return missing
