"""Define a source: it delivers frames one by one, from anything, until it ends or is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr


@dataclass(frozen=True, kw_only=True)
class Captured:
    """One frame of a source.

    Attributes:
        index: number of the frame in the source, from 0. It continues over a reconnect and over the rounds of a loop,
            and counts the frames that no reader was in time for: a gap of n is n dropped frames.
        name: for files that are written: ``street`` for an image, ``street_000012`` for a frame of a video.
        image_bgr: ``(h, w, 3)`` uint8 BGR. It belongs to the caller: no later frame is written into it.
        captured_s: ``time.perf_counter()`` when the driver or decoder handed the frame over; for a paced file, when the
            frame was due.
        time_s: when the frame is shown, in seconds from the first frame of the source, by the time stamps of the video;
            it continues over the files of a folder and the rounds of a loop. ``None`` for a live source and for images.
        frame_s: how long the frame is shown, in seconds; ``None`` where ``time_s`` is.
    """

    __repr__ = short_repr

    index: int
    name: str
    image_bgr: NDArray[np.uint8]
    captured_s: float
    time_s: float | None = None
    frame_s: float | None = None


class Source(Protocol):
    """Anything that delivers frames. ``open_source`` makes one.

    Attributes:
        name: for messages: what the user typed, passwords in URLs masked.
        live: the source continues whether it is read or not; a slow reader misses frames.
        fps: frames per second as the source states them; None when it does not. A stream of JPEGs does not, and ffmpeg
            claims 25 for it.
    """

    name: str
    live: bool
    fps: float | None

    @property
    def missing_frames(self) -> int:
        """Frames that the files read to their end claim to have and that did not decode; 0 for a live source."""

    def read(self) -> Captured | None:
        """Wait for the next frame and return it; None at the regular end and after ``close``.

        Raises:
            SourceLost: the camera or stream broke.
            InputError: a file of the source does not decode.
        """

    def close(self) -> None:
        """Release the file, device or connection, from any thread; wakes a blocked ``read`` within a second."""


def is_still(source: Source) -> bool:
    """Return whether a source is images that are read as fast as possible: they have no frame rate and no age."""
    return not source.live and source.fps is None
