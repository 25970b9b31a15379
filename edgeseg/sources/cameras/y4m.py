"""Read Y4M, raw frames with their size before them, from a program that is not trusted."""

from __future__ import annotations

import re
from io import BufferedReader

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import escaped
from edgeseg.errors import InputError
from edgeseg.sources.cameras.i420 import I420

_HEADER = re.compile(rb"YUV4MPEG2((?: [A-Z][^ \n]*)+)\n")
#: 4:2:0 with 8 bits; the endings say where chroma lies between the pixels.
_CHROMA = ("420", "420jpeg", "420mpeg2", "420paldv")
_FRAME = b"FRAME\n"
_LONGEST_HEADER = 256


class Y4m:
    """A stream of Y4M in 4:2:0, whose colors are taken for BT.601's in limited range.

    Attributes:
        layout: of its frames; whether their rows are padded is known with the first.
        fps: frames per second as it states them; None where it does not.
    """

    def __init__(self, file: BufferedReader) -> None:
        """Read the header.

        Raises:
            InputError: it is no Y4M in 4:2:0; also where it ends before that.
        """
        self._file = file
        header = _HEADER.fullmatch(file.readline(_LONGEST_HEADER))
        fields = {field[:1]: field[1:] for field in header[1].split()} if header else {}
        try:
            width, height = int(fields[b"W"]), int(fields[b"H"])
        except (KeyError, ValueError) as error:
            raise InputError("it wrote no video.") from error
        chroma = fields.get(b"C", b"420").decode("latin-1")
        if chroma not in _CHROMA:
            raise InputError(f"it wrote Y4M in {escaped(chroma)}, and 420 is read.")
        self.fps = _rate(fields.get(b"F", b""))
        self.layout = I420.aligned(width, height, full_range=False)
        # y4menc of GStreamer 1.22 leaves the padding of its rows in, which are multiples of 4 there.
        self._padded = I420.aligned(width, height, luma=4, chroma=4, full_range=False)
        # Which of them it is is seen by where the next frame begins; of two rows the difference is less than its words.
        self._known = self.layout.num_bytes == self._padded.num_bytes or height < 4
        self._begun = False  # the words before the next frame are read

    @property
    def most_bytes(self) -> int:
        """Memory that ``read`` needs."""
        return self._padded.num_bytes

    def read(self, buffer: NDArray[np.uint8]) -> bool:
        """Read the next frame.

        Args:
            buffer: ``(most_bytes,)`` uint8, which gets the frame in the ``layout`` that is known afterwards.

        Returns:
            False at the end.

        Raises:
            InputError: what comes is no frame.
        """
        if not self._at_frame():
            return False
        size = self.layout.num_bytes
        if self._file.readinto(buffer[:size]) != size:  # type: ignore[arg-type]
            return False
        if not self._known:
            self._known = True
            following = self._file.read(len(_FRAME))
            self._begun = following == _FRAME
            if following and not self._begun:
                self.layout = self._padded
                read = size + len(following)
                buffer[size:read] = np.frombuffer(following, np.uint8)
                rest = buffer[read : self.most_bytes]
                return self._file.readinto(rest) == rest.size  # type: ignore[arg-type]
        return True

    def _at_frame(self) -> bool:
        if self._begun:
            self._begun = False
            return True
        line = self._file.readline(_LONGEST_HEADER)
        if line and line != _FRAME:
            raise InputError("what it wrote after a frame is no frame.")
        return bool(line)


def _rate(text: bytes) -> float | None:
    match = re.fullmatch(rb"(\d{1,9}):(\d{1,9})", text)
    if match is None or not int(match[1]) or not int(match[2]):
        return None
    return int(match[1]) / int(match[2])
