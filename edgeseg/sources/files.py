"""Find files and read them as a source: images and videos one after the other, as fast as possible or in real time."""

from __future__ import annotations

import glob
import shlex
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import masked
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES, read_image_bgr
from edgeseg.medical.dicom import DICOM_SUFFIXES
from edgeseg.sources.animation import kind_of
from edgeseg.sources.base import Captured
from edgeseg.sources.pacing import Clock
from edgeseg.sources.video import VIDEO_SUFFIXES, Video
from edgeseg.video.address import URL, is_remote, local_path, require_address

#: What is read of a folder.
FILE_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | DICOM_SUFFIXES

#: Images have no frame rate of their own: this is the rate of a paced folder of them.
IMAGES_FPS = 25.0


def places(sources: Sequence[str]) -> list[Path | str]:
    """Return the files that sources name, and addresses and ``-`` as they are.

    Raises:
        InputError: as ``expand``, an address cannot be taken apart, or ``-`` is given twice.
    """
    if sources.count("-") > 1:
        raise InputError("'-' is standard input, which can be read once; give it once.")
    found: list[Path | str] = []
    for source in sources:
        if URL.match(source):
            require_address(source, shown=masked(source))
        found += [source] if is_addressed(source) else _matches(source)
    _refuse_same_names(found)
    return found


def is_addressed(source: str) -> bool:
    """Return whether a source is an address or standard input, which cannot be looked at before it is read."""
    return source == "-" or is_remote(source)


def expand(sources: Sequence[str]) -> list[Path]:
    """Return the files that sources name; folders and patterns are sorted by name.

    Raises:
        InputError: a source does not exist or has no images, or two files have one stem, which names their results.
    """
    paths = [path for source in sources for path in _matches(source)]
    _refuse_same_names(paths)
    return paths


def _matches(source: str) -> list[Path]:
    path = Path(local_path(source))
    if path.is_dir():
        matches = sorted(p for p in path.iterdir() if p.suffix.lower() in FILE_SUFFIXES)
    elif path.exists():
        matches = [path]
    else:
        matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if not matches:
        raise InputError(f"source '{source}' does not exist or has no images.")
    return matches


def _refuse_same_names(found: Sequence[Path | str]) -> None:
    by_name: dict[str, Path | str] = {}
    for place in found:
        name = place.stem if isinstance(place, Path) else _path_in(place).stem
        other = by_name.setdefault(name, place)
        if other == place:
            continue
        if isinstance(place, Path):
            pattern = place.with_name(f"*{place.suffix}")
            way = f"rename one, or give a pattern that takes one of them, such as '{pattern}'"
        else:
            way = "read them in two runs"
        raise InputError(
            f"'{masked(str(other))}' and '{masked(str(place))}' would have the same name in the results; {way}."
        )


def _path_in(address: str) -> PurePath:
    """Return the path in an address, without the query; it names the frames."""
    return PurePosixPath(urlsplit(address).path)


class Files:
    """Images and videos as one ``Source``.

    When paced, a clock decides which frame is due; frames that no reader was in time for are skipped without color
    conversion, images without being decoded.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        name: str,
        pace: bool = False,
        loop: bool = False,
        fps: float | None = None,
        timeout_s: float | None = None,
        first: Video | None = None,
    ) -> None:
        """Open the first file.

        Args:
            paths: images and videos, in their order, at least one; URLs of videos where ``timeout_s`` is given.
            name: for messages.
            pace: play in real time.
            loop: start again after the last file, without end.
            fps: frame rate of paced images; 25 when omitted. A video plays at its own rate, or at this one where it
                states none.
            timeout_s: how long the server of a URL may be silent.
            first: the first file, where it is open already.

        Raises:
            InputError: the first file does not open.
        """
        self.name = name
        self.live = pace
        self.missing_frames = 0
        self._paths = paths
        self._loop = loop
        self._fps = fps or IMAGES_FPS
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._lock = threading.Lock()  # OpenCV's capture is for one thread: close waits for the frame being read
        self._first: Video | _Image | None = first or self._open(paths[0])
        if isinstance(self._first, _Image):
            self._first.retrieve()  # a file that is no image is reported now, as with a video, and not in the loop
        self.fps = self._first.fps or (self._fps if pace else None)
        self._next_index = 0
        self._played_s = 0.0  # by the files before the current one
        self._frames = self._play()

    def read(self) -> Captured | None:
        """Return the next frame, or the one that is due; None after the last and after ``close``.

        Raises:
            InputError: a file does not decode.
            SourceLost: the server of a URL closed the connection early.
        """
        with self._lock:
            return None if self._closed.is_set() else next(self._frames, None)

    def stop(self) -> None:
        """Request the end, without waiting for the frame that is being read."""
        self._closed.set()

    def close(self) -> None:
        """Close the open file."""
        self.stop()
        with self._lock:
            self._frames.close()
            if self._first is not None:
                self._first.close()
                self._first = None

    def _open(self, path: str) -> Video | _Image:
        kind = kind_of(path) if self._timeout_s is None else "video"
        if kind == "dicom":
            raise InputError(f"'{path}' is DICOM, which is read by: edgeseg predict {shlex.quote(path)}")
        return _Image(path) if kind == "image" else Video(path, timeout_s=self._timeout_s)

    def _plain(self, path: str) -> PurePath:
        """Return a path, without the address and the query of a URL."""
        return _path_in(path) if self._timeout_s else PurePath(path)

    def _play(self) -> Generator[Captured]:
        clock = Clock(self._closed) if self.live else None
        rounds = 0
        while rounds == 0 or self._loop:
            for path in self._paths:
                reel, self._first = self._first or self._open(path), None
                with closing(reel):
                    yield from self._frames_of(reel, clock, f"_round{rounds}" if rounds else "")
                    if self._closed.is_set():
                        return
                    if rounds == 0 and isinstance(reel, Video):
                        self.missing_frames += reel.missing_frames
                        reel.warn_of_missing()
            rounds += 1

    def _frames_of(self, reel: Video | _Image, clock: Clock | None, ending: str) -> Generator[Captured]:
        stem = self._plain(reel.path).stem
        begun_s = self._played_s
        while reel.grab():
            index, self._next_index = self._next_index, self._next_index + 1
            video = isinstance(reel, Video) and not reel.still
            frame_s = reel.frame_s if isinstance(reel, Video) and video and reel.fps else 1 / self._fps
            time_s = begun_s + reel.time_s if isinstance(reel, Video) and video else None
            self._played_s = begun_s + frame_s + (0 if time_s is None else time_s - begun_s)
            captured_s = time.perf_counter() if clock is None else clock.wait(frame_s)
            if self._closed.is_set():
                return
            if captured_s is not None:
                name = f"{stem}_{reel.decoded - 1:06d}{ending}" if video else f"{stem}{ending}"
                image_bgr = reel.retrieve()
                yield Captured(
                    index=index,
                    name=name,
                    image_bgr=image_bgr,
                    captured_s=captured_s,
                    time_s=time_s,
                    frame_s=None if time_s is None else frame_s,
                )
        if not reel.decoded:
            raise InputError(f"'{masked(reel.path)}' has no frame that decodes.")


class _Image:
    """An image as a video of one frame; decoded only when it is needed."""

    fps = None

    def __init__(self, path: str) -> None:
        self.path = path
        self.decoded = 0

    def grab(self) -> bool:
        self.decoded += 1
        return self.decoded == 1

    def retrieve(self) -> NDArray[np.uint8]:
        return read_image_bgr(self.path)

    def close(self) -> None:
        pass
