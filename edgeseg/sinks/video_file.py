"""Write frames as a video file that plays everywhere: in a browser, in an editor, and after the process was killed."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import growing_path, refuse_existing, require_writable_folder
from edgeseg.errors import InputError, missing_extra
from edgeseg.sinks.backlog import Backlog
from edgeseg.sinks.base import DiskWatch, OneSize, Times, checked_fps
from edgeseg.sinks.opencv_video import CODECS, OpenCvVideo
from edgeseg.video.encode import FORMATS, TICKS, Encoder, Format, piece_stem
from edgeseg.video.faststart import move_index
from edgeseg.video.library import has_av
from edgeseg.video.sound import Sound

_log = logging.getLogger(__name__)

#: What a video can be; ``.avi`` is written by OpenCV as motion JPEG, the others by FFmpeg's libraries.
SUFFIXES = (*CODECS, *(suffix for suffix in FORMATS if suffix not in CODECS))


class VideoFile:
    """Writes frames to one video file of the first frame's size.

    ``.mp4``, ``.mov``, ``.mkv`` and ``.m3u8`` (a playlist that plays while it is written) are H.264 in 4:2:0 at the
    constant quality ``edgeseg.video.encode.CRF``, ``.webm`` is VP9, ``.gif`` has the colors of each frame. They say
    which color matrix they have. The file has its name from the first frame on and plays up to the last half second
    when the process is killed. A frame of another size is scaled as a whole, with black bars; the last row or column of
    an odd size is omitted. Frames are encoded in a thread of their own, which never has more than two before it.

    Without PyAV (the extra ``video``) OpenCV writes what it can: MPEG-4 Part 2, which browsers do not play.

    Args:
        path: the file to write; its suffix, one of ``SUFFIXES``, chooses the format.
        fps: frames per second, where frames come without their time.
        overwrite: whether an existing file may be replaced.
        sound: a file whose sound is copied where it fits, from the first frame's time on: the source of the frames. Not
            with ``live``.
        live: a frame that comes while the encoder is busy is dropped and counted, and frames without a time get that at
            which they came; a pause longer than one second is cut to one. False: every frame is written.

    Raises:
        InputError: the suffix or rate cannot be written, the file exists, or the folder cannot be written.
        BackendUnavailable: PyAV is not installed, and OpenCV does not write this format.

    Attributes:
        frames_written: frames in the file.
        dropped: frames that came while the encoder was busy.
        encoder: name of the encoder, once there is a frame.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float,
        overwrite: bool = False,
        live: bool = False,
        sound: str | Path | None = None,
    ) -> None:
        self._path = Path(path)
        suffix = self._path.suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(
                f"'{path}' cannot be written as a video: '{self._path.suffix}' is none of {', '.join(SUFFIXES)}."
            )
        self._fps = checked_fps(fps)
        self._other: OpenCvVideo | None = None
        if suffix not in FORMATS or not has_av():
            if suffix not in CODECS:
                raise missing_extra(f"writing '{path}'", "video")
            self._other = OpenCvVideo(path, fps=fps, overwrite=overwrite, live=live)
            if suffix in FORMATS:
                what = "VP9, slowly" if suffix == ".webm" else "MPEG-4 Part 2, which browsers do not play"
                _log.warning(
                    "'%s' will be %s, and a killed process leaves nothing of it; better: "
                    'pip install "edgeseg[video]"',
                    path,
                    what,
                )
            return
        self._kind = FORMATS[suffix]
        self._overwrite = overwrite
        self._live = live
        self._sound = None if sound is None or live else Path(sound)
        self._times = Times(self._fps, live=live)
        self._size = OneSize(f"'{path}'")
        self._file = ExitStack()
        self._backlog: Backlog | None = None
        self._closed = False
        refuse_existing(self._path, overwrite=overwrite)
        _refuse_pieces(self._path, self._kind, overwrite=overwrite)
        require_writable_folder(self._path.parent)

    @property
    def frames_written(self) -> int:
        """Frames in the file."""
        if self._other is not None:
            return self._other.frames_written
        return 0 if self._backlog is None else self._backlog.done

    @property
    def dropped(self) -> int:
        """Frames that came while the encoder was busy."""
        return 0 if self._other is not None or self._backlog is None else self._backlog.dropped

    @property
    def encoder(self) -> str | None:
        """Name of the encoder; None before the first frame."""
        if self._other is not None:
            return self._other.encoder
        return None if self._backlog is None else self._encoder.name

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Add a frame whose time is not known; see ``write_at``."""
        self.write_at(image_bgr, name, None)

    def write_at(
        self, image_bgr: NDArray[np.uint8], name: str, time_s: float | None, frame_s: float | None = None
    ) -> None:
        """Add a frame ``(h, w, 3)`` uint8 BGR; a video ignores its ``name``.

        Args:
            image_bgr: the frame; the caller may reuse it.
            name: of the frame.
            time_s: when it is shown, in seconds of the source, or of ``time.perf_counter`` when live; None where that
                is not known.
            frame_s: how long it is shown if nothing follows; 1 / ``fps`` where that is not known.

        Raises:
            SinkLost: the disk is full or the file is gone; ``close`` still finishes what was recorded.
            InputError: the first frame has a size that the codec does not take.
        """
        if self._other is not None:
            self._other.write_at(image_bgr, name, time_s, frame_s)
            return
        if self._closed:
            raise ValueError(f"write to '{self._path}', which is closed")
        image_bgr = self._size.fit(image_bgr)
        if self._backlog is None:
            self._backlog = self._open(time_s or 0.0)
        ticks = round(self._times.at(time_s) * TICKS)
        self._backlog.put(self._encoder.frame(image_bgr), ticks, None if frame_s is None else round(frame_s * TICKS))

    def close(self) -> None:
        """Finish the file; without a frame there is no file.

        Raises:
            SinkLost: it cannot be finished; what is in it is said.
        """
        if self._other is not None:
            self._other.close()
            return
        self._closed = True
        backlog = self._backlog
        if backlog is None or backlog.closed:
            return
        with self._file:
            backlog.close()
        if self._kind.has_index:
            try:
                move_index(self._path)
            except (InputError, OSError) as error:  # it plays as it is
                _log.debug("the index stays at the end of '%s': %s", self._path, error)

    def _open(self, begin_s: float) -> Backlog:
        assert self._size.size_hw is not None
        with ExitStack() as file:
            sound = None if self._sound is None else Sound(self._sound, begin_s)
            self._encoder = Encoder(self._path, self._kind, self._size.size_hw, self._fps, sound)
            # Only now, when an encoder takes the frames, is an old file replaced; the encoder opens it with a frame.
            path = file.enter_context(growing_path(self._path, overwrite=self._overwrite))
            watch = DiskWatch(path, str(self._path))
            backlog = Backlog(self._encoder, watch, str(self._path), live=self._live)
            self._file = file.pop_all()
        return backlog


def _refuse_pieces(path: Path, kind: Format, *, overwrite: bool) -> None:
    """Refuse to write a playlist over the pieces of another one."""
    if kind.container == "hls" and not overwrite:
        start = f"{piece_stem(path)}_"
        for piece in path.parent.glob("*.ts"):
            if piece.name.startswith(start) and piece.stem.removeprefix(start).isdigit():
                refuse_existing(piece, overwrite=False)
