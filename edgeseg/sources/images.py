"""Read images and videos as one stream of named frames, for results that go by name."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted, masked
from edgeseg.errors import InputError
from edgeseg.imaging import read_image
from edgeseg.medical.dicom import DicomImage
from edgeseg.medical.window import Window
from edgeseg.polygons.georeference import Georeference
from edgeseg.sources.animation import kind_of
from edgeseg.sources.files import places
from edgeseg.sources.opening import open_source
from edgeseg.sources.video import Video
from edgeseg.video.address import LIVE_SCHEMES


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image of a source.

    Attributes:
        name: file stem; for a video the stem and the frame's number.
        image_rgb: ``(h, w, 3)`` uint8 RGB.
        time_s: when the frame of a video is shown, in seconds from the first frame of the first video; it continues
            over several. ``None`` for an image.
        frame_s: how long it is shown, in seconds, until the next one of the video. ``None`` for an image.
        fps: frames that are taken of its video per second, on average. ``None`` for an image, and where the video does
            not say.
        path: the file of an image, DICOM too; ``None`` for a frame of a video and of an address.
        spacing_mm: of DICOM: millimeters between the centers of two pixels, one below the other and beside each other.
        georeference: where on Earth an image is; ``None`` where nothing says it, or nobody asked.
    """

    __repr__ = short_repr

    name: str
    image_rgb: NDArray[np.uint8]
    time_s: float | None = None
    frame_s: float | None = None
    fps: float | None = None
    path: Path | None = None
    spacing_mm: tuple[float, float] | None = None
    georeference: Georeference | None = None


def read_frame(path: Path) -> Frame:
    """Read an image file as a frame.

    Raises:
        InputError: see ``edgeseg.imaging.read_image``.
    """
    return Frame(name=path.stem, image_rgb=read_image(path), path=path)


def frames(
    sources: Sequence[str],
    *,
    start: int = 0,
    stride: int = 1,
    window: Window | None = None,
    read: Callable[[Path], Frame] = read_frame,
) -> Iterator[Frame]:
    """Read every image of some sources, in order.

    A video that ends before the number of frames it claims is reported as a warning of the logger ``edgeseg.sources``.

    Args:
        sources: image files, video files, DICOM files, folders (their images, sorted), glob patterns, addresses of
            videos and images with an end, or ``-``, standard input.
        start: number of the first frame to take from a video, counted from 0.
        stride: take every n-th frame of a video from there.
        window: which gray values of DICOM are told apart, in place of the file's own.
        read: reads an image file.

    Raises:
        InputError: a source does not exist, is empty, is live, or does not decode; start is negative, or stride is
            below 1.
        SourceLost: the connection to an address broke.
        BackendUnavailable: a source needs PyAV or pydicom, which is not installed.
    """
    if start < 0 or stride < 1:
        raise InputError(f"start must be 0 or more and stride 1 or more, got {start} and {stride}.")
    played_s = 0.0
    for place in places(sources):
        if isinstance(place, str):
            played_s = yield from _addressed(place, start, stride, played_s)
            continue
        kind = kind_of(place)
        if kind == "video":
            played_s = yield from _video(place, start, stride, played_s)
        elif kind == "dicom":
            yield from _dicom(DicomImage(place, window), start, stride)
        else:
            yield read(place)


def _dicom(image: DicomImage, start: int, stride: int) -> Iterator[Frame]:
    """Yield the frames of a DICOM file, of which a single one is an image."""
    one, path, frame_s = image.num_frames == 1, image.path, image.frame_s
    if not one and start >= image.num_frames:
        raise InputError(f"'{path}' has {counted(image.num_frames, 'frame')}, none from frame {start} on.")
    for number, image_rgb in image.frames(0 if one else start, stride):
        timed = None if one else frame_s
        yield Frame(
            name=path.stem if one else f"{path.stem}_{number:06d}",
            image_rgb=image_rgb,
            time_s=None if timed is None else number * timed,
            frame_s=None if timed is None else timed * stride,
            fps=None if timed is None else 1 / (timed * stride),
            path=path,
            spacing_mm=image.spacing_mm,
        )


def _video(path: Path, start: int, stride: int, begun_s: float) -> Generator[Frame, None, float]:
    """Yield the frames of a video that begins at ``begun_s``; return when it ends."""
    ended_s = begun_s
    with closing(Video(str(path))) as video:
        while video.grab():
            number = video.decoded - 1
            ended_s = begun_s + video.time_s + video.frame_s
            if video.still or (number >= start and (number - start) % stride == 0):
                image_rgb = _rgb(video.retrieve())
                if video.still:
                    yield Frame(name=path.stem, image_rgb=image_rgb)
                    continue
                yield Frame(
                    name=f"{path.stem}_{number:06d}",
                    image_rgb=image_rgb,
                    time_s=begun_s + video.time_s,
                    frame_s=video.frame_s * stride,  # those between are not taken
                    fps=None if video.fps is None else video.fps / stride,
                )
        video.warn_of_missing()
        if video.decoded <= start and not (video.still and video.decoded):
            raise InputError(f"'{path}' has {counted(video.decoded, 'frame')}, none from frame {start} on.")
    return ended_s


def _addressed(text: str, start: int, stride: int, begun_s: float) -> Generator[Frame, None, float]:
    """Yield the frames of an address or of standard input, as ``_video`` does."""
    if urlsplit(text).scheme in LIVE_SCHEMES or PurePosixPath(text).suffix.lower() == ".sdp":
        raise _live(masked(text))
    ended_s, count, taken = begun_s, 0, 0
    with closing(open_source(text)) as source:
        if source.live:
            raise _live(source.name)
        for count, captured in enumerate(iter(source.read, None), 1):
            time_s, frame_s = captured.time_s, captured.frame_s
            still = time_s is None or frame_s is None
            if still or (count > start and (count - 1 - start) % stride == 0):
                taken += 1
                yield Frame(
                    name=captured.name,
                    image_rgb=_rgb(captured.image_bgr),
                    time_s=None if time_s is None else begun_s + time_s,
                    frame_s=None if frame_s is None else frame_s * stride,
                    fps=None if still or source.fps is None else source.fps / stride,
                )
            ended_s = begun_s + (time_s or 0.0) + (frame_s or 0.0)
        if not taken:
            raise InputError(f"'{source.name}' has {counted(count, 'frame')}, none from frame {start} on.")
    return ended_s


def _live(name: str) -> InputError:
    return InputError(f"'{name}' is live and has no end; type: edgeseg camera --source {shlex.quote(name)}")


def _rgb(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cast("NDArray[np.uint8]", cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
