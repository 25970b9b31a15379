"""Say how many frames files have and at which rate they play, before they are read (``extent``)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edgeseg.medical.dicom import DicomImage
from edgeseg.sources.animation import kind_of
from edgeseg.sources.files import places
from edgeseg.sources.video import Video


@dataclass(frozen=True)
class Extent:
    """What files will deliver.

    Attributes:
        still: they are one image; ``None`` where it is one address or standard input, which may be.
        num_frames: frames in all, as the files say; 0 where they do not, or where there are many videos to ask.
        fps: frames per second of the first video; ``None`` where there is none, or it does not say.
    """

    still: bool | None
    num_frames: int
    fps: float | None


def extent(sources: Sequence[str], *, start: int = 0, stride: int = 1) -> Extent:
    """Look at the files that sources name; only a first video is opened.

    Args:
        sources: image, video and DICOM files, folders (their images, sorted) or glob patterns; nothing is known of an
            address and of standard input.
        start: number of the first frame that is taken from a video, counted from 0.
        stride: every n-th frame of a video is taken from there.

    Raises:
        InputError: as ``places``, or a first video does not decode.
    """
    found = places(sources)
    paths = [place for place in found if isinstance(place, Path)]
    if len(paths) < len(found):
        return Extent(still=None if len(found) == 1 else False, num_frames=0, fps=None)
    kinds = {path: kind_of(path) for path in paths}
    if len(paths) == 1 and kinds[paths[0]] == "dicom":
        number = DicomImage(paths[0]).num_frames
        return Extent(number == 1, 1 if number == 1 else max(0, -(-(number - start) // stride)), None)
    videos = [path for path in paths if kinds[path] == "video"]
    if not videos:
        # What else there is, such as a pipe, is not opened here: it says what it is when it is read.
        known = all(kind == "image" for kind in kinds.values())
        return Extent(known and len(paths) == 1, len(paths) if known else 0, None)
    with closing(Video(str(videos[0]))) as video:
        if video.still:
            return Extent(len(paths) == 1, len(paths) if len(videos) == 1 else 0, None)
        known = len(videos) == 1 and video.claimed > start
        taken = -(-(video.claimed - start) // stride) if known else 0
        return Extent(False, len(paths) - 1 + taken if known else 0, video.fps)
