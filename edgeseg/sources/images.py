"""Read images and videos as one stream of named frames, for results that go by name."""

from __future__ import annotations

import glob
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES, read_image
from edgeseg.sources.animation import kind_of
from edgeseg.sources.video import VIDEO_SUFFIXES, Video
from edgeseg.video.container import path_of


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image of a source.

    Attributes:
        name: file stem; for a video the stem and the frame's number.
        image_rgb: ``(h, w, 3)`` uint8 RGB.
        time_s: when the frame of a video is shown, in seconds from the first frame of the first video; it continues
            over several. ``None`` for an image.
        frame_s: how long it is shown, in seconds, until the next one of the video. ``None`` for an image.
    """

    __repr__ = short_repr

    name: str
    image_rgb: NDArray[np.uint8]
    time_s: float | None = None
    frame_s: float | None = None


def frames(sources: Sequence[str], *, start: int = 0, stride: int = 1) -> Iterator[Frame]:
    """Read every image of some sources, in order.

    A video that ends before the number of frames it claims is reported as a warning of the logger ``edgeseg.sources``.

    Args:
        sources: image files, video files, folders (their images, sorted) or glob patterns.
        start: number of the first frame to take from a video, counted from 0.
        stride: take every n-th frame of a video from there.

    Raises:
        InputError: a source does not exist, is empty, or does not decode; start is negative, or stride is below 1.
    """
    if start < 0 or stride < 1:
        raise InputError(f"start must be 0 or more and stride 1 or more, got {start} and {stride}.")
    played_s = 0.0
    for path in expand(sources):
        if kind_of(path) == "video":
            played_s = yield from _video(path, start, stride, played_s)
        else:
            yield Frame(name=path.stem, image_rgb=read_image(path))


def expand(sources: Sequence[str]) -> list[Path]:
    """Return the files that sources name; folders and patterns are sorted by name.

    Raises:
        InputError: a source does not exist or has no images, or two files have one stem, which names their results.
    """
    paths: list[Path] = []
    for source in sources:
        path = Path(path_of(source) if source.startswith("file://") else source)
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not matches:
            raise InputError(f"source '{source}' does not exist or has no images.")
        paths += matches
    by_name: dict[str, Path] = {}
    for path in paths:
        if by_name.setdefault(path.stem, path) != path:
            raise InputError(
                f"'{by_name[path.stem]}' and '{path}' would have the same name in the results; "
                f"rename one, or give a pattern that takes one of them, such as '{path.with_name('*' + path.suffix)}'."
            )
    return paths


def _video(path: Path, start: int, stride: int, begun_s: float) -> Generator[Frame, None, float]:
    """Yield the frames of a video that begins at ``begun_s``; return when it ends."""
    ended_s = begun_s
    with closing(Video(str(path))) as video:
        while video.grab():
            number = video.decoded - 1
            ended_s = begun_s + video.time_s + video.frame_s
            if video.still or (number >= start and (number - start) % stride == 0):
                image_rgb = cast("NDArray[np.uint8]", cv2.cvtColor(video.retrieve(), cv2.COLOR_BGR2RGB))
                if video.still:
                    yield Frame(name=path.stem, image_rgb=image_rgb)
                    continue
                yield Frame(
                    name=f"{path.stem}_{number:06d}",
                    image_rgb=image_rgb,
                    time_s=begun_s + video.time_s,
                    frame_s=video.frame_s * stride,  # those between are not taken
                )
        video.warn_of_missing()
        if video.decoded <= start and not (video.still and video.decoded):
            raise InputError(f"'{path}' has {counted(video.decoded, 'frame')}, none from frame {start} on.")
    return ended_s
