"""What a source is: frames one by one, from anything, until it ends or is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Captured:
    """One frame of a source.

    Attributes:
        index: number of the frame in the source, from 0. It goes on over a reconnect and over the rounds of a loop,
            and counts the frames that nobody was in time for: a gap of n is n dropped frames.
        name: for files that are written: ``street`` for an image, ``street_000012`` for a frame of a video.
        image_bgr: ``(h, w, 3)`` uint8 BGR. The caller's own: no later frame is written into it.
        captured_s: ``time.perf_counter()`` when the driver or decoder handed the frame over; of a paced file, when
            the frame was due.
    """

    index: int
    name: str
    image_bgr: NDArray[np.uint8]
    captured_s: float


class Source(Protocol):
    """Anything that gives frames. ``open_source`` makes one.

    Attributes:
        name: for messages: what the user typed, passwords in URLs masked.
        live: goes on without us; a slow reader misses frames.
        fps: frames a second as the source says; None when it does not. A stream of JPEGs does not, and ffmpeg
            says 25 for it.
    """

    name: str
    live: bool
    fps: float | None

    @property
    def missing_frames(self) -> int:
        """Frames that the files read to their end claim to have and that did not decode; 0 for what is live."""

    def read(self) -> Captured | None:
        """The next frame, waited for; None at the regular end and after ``close``.

        Raises:
            SourceLost: the camera or stream broke.
            InputError: a file of the source does not decode.
        """

    def close(self) -> None:
        """Let go of the file, device or connection. From any thread; wakes a blocked ``read`` within a second."""
