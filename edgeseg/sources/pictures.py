"""Where pictures come from: files, folders, globs and video files, as one stream of named frames."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES, read_image

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        name: file stem; for a video the stem and the frame's number.
        image_rgb: ``(h, w, 3)`` uint8 RGB.
    """

    name: str
    image_rgb: NDArray[np.uint8]


def frames(sources: Sequence[str], *, start: int = 0, stride: int = 1) -> Iterator[Frame]:
    """Read every picture of some sources, in order.

    Args:
        sources: picture files, video files, folders (their pictures, sorted) or glob patterns.
        start: number of a video's first frame that is taken, counted from 0.
        stride: take every n-th frame of a video from there.

    Raises:
        InputError: a source that does not exist, is empty, or does not decode; a negative start, a stride below 1.
    """
    if start < 0 or stride < 1:
        raise InputError(f"start must be 0 or more and stride 1 or more, got {start} and {stride}.")
    for path in expand(sources):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            yield from _video(path, start, stride)
        else:
            yield Frame(path.stem, read_image(path))


def expand(sources: Sequence[str]) -> list[Path]:
    """The files behind sources; folders and patterns are sorted by name.

    Raises:
        InputError: a source that does not exist or has no pictures, or two files of one stem: results go by it.
    """
    paths: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not found:
            raise InputError(f"source '{source}' does not exist or has no pictures.")
        paths += found
    by_name: dict[str, Path] = {}
    for path in paths:
        if by_name.setdefault(path.stem, path) != path:
            raise InputError(
                f"'{by_name[path.stem]}' and '{path}' would have one name in the results; give them in separate runs."
            )
    return paths


def _video(path: Path, start: int, stride: int) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(f"'{path}' does not decode as a video.")
        number = 0
        while capture.grab():
            if number >= start and (number - start) % stride == 0:
                ok, bgr = capture.retrieve()
                if not ok:
                    raise InputError(f"frame {number} of '{path}' does not decode.")
                yield Frame(f"{path.stem}_{number:06d}", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]
            number += 1
        if number <= start:
            raise InputError(f"'{path}' has {number} frames, none from frame {start} on.")
    finally:
        capture.release()
