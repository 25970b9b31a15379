"""Write frames as a video file through OpenCV's own encoders: what is there without PyAV, and for ``.avi``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path, refuse_existing, require_writable_folder
from edgeseg._internal.text import counted
from edgeseg.errors import InputError, SinkLost
from edgeseg.sinks.base import DiskWatch, OneSize, RealTime, checked_fps

#: Suffix to the codec that the wheels of opencv-python encode it with. They have no H.264, and VP9, in OpenCV's
#: setting, takes 20 times as long as the others.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v", ".webm": "VP90"}


class OpenCvVideo:
    """Writes frames to one video file of the first frame's size.

    The file gets its name when it is closed, so that a file with that name is one that plays; ``close`` after Ctrl-C
    keeps what was recorded, and a killed process leaves nothing. Times of frames are not kept: OpenCV's videos have one
    rate. See ``VideoFile``.

    Args:
        path: the file to write; its suffix, one of ``CODECS``, chooses the codec.
        fps: frames per second of the video.
        overwrite: whether an existing file may be replaced.
        live: frames are repeated or omitted so that the video plays as long as the frames took to come; a pause longer
            than one second is cut to one. False: every frame is written once.

    Raises:
        InputError: the suffix or rate cannot be written, the file exists, or the folder cannot be written.
    """

    def __init__(self, path: str | Path, *, fps: float, overwrite: bool = False, live: bool = False) -> None:
        self._path = Path(path)
        codec = CODECS.get(self._path.suffix.lower())
        if codec is None:
            raise InputError(
                f"'{path}' cannot be written as a video: '{self._path.suffix}' is none of {', '.join(CODECS)}."
            )
        self._codec = codec
        self._fps = checked_fps(fps)
        self._overwrite = overwrite
        self._clock = RealTime(self._fps) if live else None
        self._size = OneSize(f"'{path}'")
        self._file = ExitStack()
        self._writer: cv2.VideoWriter | None = None
        self._closed = False
        self.frames_written = 0
        self.dropped = 0
        self.encoder = f"OpenCV's {codec}"
        refuse_existing(self._path, overwrite=overwrite)
        require_writable_folder(self._path.parent)

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Add a frame; see ``write_at``."""
        self.write_at(image_bgr, name, None)

    def write_at(
        self, image_bgr: NDArray[np.uint8], name: str, time_s: float | None, frame_s: float | None = None
    ) -> None:
        """Add a frame ``(h, w, 3)`` uint8 BGR; a video ignores its ``name``, and a live one repeats it by its time.

        Raises:
            SinkLost: the disk is full or the file is gone; ``close`` still finishes what was recorded.
            InputError: the first frame has a size that the codec does not take.
        """
        if self._closed:
            raise ValueError(f"write to '{self._path}', which is closed")
        image_bgr = self._size.fit(image_bgr)
        if self._writer is None:
            self._writer = self._open()
        for _ in range(1 if self._clock is None else self._clock.repeats(time_s)):
            self._watch.check(image_bgr.nbytes)
            self._writer.write(image_bgr)
            self.frames_written += 1

    def close(self) -> None:
        """Finish the file and give it its name; without a frame there is no file.

        Raises:
            SinkLost: the written file does not read back.
        """
        self._closed = True
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.release()
        with self._file:  # renames the file, or removes it when it is none
            num_frames = _count_frames(self._temporary)
            if num_frames == 0:
                raise SinkLost(f"'{self._path}' could not be written: what reached the disk is no video. Is it full?")
        # The count of .mkv and .webm is computed from the duration, which is kept in milliseconds.
        if num_frames < self.frames_written - 1 - self.frames_written // 100:
            raise SinkLost(
                f"'{self._path}' has only {num_frames} of {counted(self.frames_written, 'frame')}. Is its disk full?"
            )

    def _open(self) -> cv2.VideoWriter:
        assert self._size.size_hw is not None
        height, width = self._size.size_hw
        with ExitStack() as file:  # an error removes the temporary file; without one it stays until close()
            self._temporary = file.enter_context(atomic_path(self._path, overwrite=self._overwrite))
            fourcc = cv2.VideoWriter.fourcc(*self._codec)
            # OpenCV makes a fraction of the rate, and MPEG-4 takes none with a side above 65,535: 134.554 would be one.
            fps = round(self._fps, 3 if self._fps < 65 else 1)
            writer = cv2.VideoWriter(str(self._temporary), fourcc, fps, (width, height))
            if not writer.isOpened():
                raise InputError(
                    f"this OpenCV cannot write '{self._path}' as {self._codec}, {width}x{height} at {self._fps:g} "
                    "frames a second; try .avi, which every build writes."
                )
            self._file = file.pop_all()
        self._watch = DiskWatch(self._temporary, str(self._path))
        return writer


def _count_frames(path: Path) -> int:
    """Return the frames that a video claims to have; 0 when not even the first can be read."""
    capture = cv2.VideoCapture(str(path))
    try:
        return max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if capture.grab() else 0
    finally:
        capture.release()
