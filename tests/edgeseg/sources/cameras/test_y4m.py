"""``y4m``: what a program writes, right and wrong."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.sources.cameras.y4m import Y4m

HEADER = b"YUV4MPEG2 C420 W34 H4 Ip F30:1 A1:1\n"
PACKED, PADDED = 34 * 4 * 3 // 2, 36 * 4 + 2 * 20 * 2


class Pipe(io.RawIOBase):
    """Delivers five bytes at a time, as a pipe may: no read has a whole word."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._content.read(min(5, len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)


def reader(content: bytes) -> Y4m:
    return Y4m(io.BufferedReader(Pipe(content)))


@pytest.mark.parametrize(("size", "stride"), [(PACKED, 34), (PADDED, 36)])
def test_whether_rows_are_padded_is_seen(size: int, stride: int) -> None:
    frames = [bytes([number]) * size for number in (1, 2, 3)]
    y4m = reader(HEADER + b"".join(b"FRAME\n" + frame for frame in frames))
    assert y4m.fps == 30
    found = []
    buffer = np.zeros(y4m.most_bytes, np.uint8)
    while y4m.read(buffer):
        assert (y4m.layout.num_bytes, y4m.layout.stride) == (size, stride)
        found.append(bytes(buffer[:size]))
    assert found == frames


def test_a_cut_off_frame_is_the_end() -> None:
    y4m = reader(HEADER + b"FRAME\n" + bytes(PACKED) + b"FRAME\n" + bytes(PACKED - 1))
    buffer = np.zeros(y4m.most_bytes, np.uint8)
    assert [y4m.read(buffer), y4m.read(buffer)] == [True, False]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"RIFF",
        b"YUV4MPEG2\n",
        HEADER[:-1],
        HEADER.replace(b"W34", b"Wx"),
        HEADER.replace(b" ", b" Q" * 200),
    ],
)
def test_what_is_no_video_is_told(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^it wrote no video\.$"):
        reader(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER.replace(b"C420", b"C444"), "it wrote Y4M in 444, and 420 is read"),
        (HEADER.replace(b"C420", b"C420p10"), "it wrote Y4M in 420p10, and 420 is read"),
        (HEADER.replace(b"H4", b"H5"), "frames of 34x5 are not read; accepted: even sides"),
        (HEADER.replace(b"W34", b"W99999999999"), "are not read; accepted: 1 to"),
    ],
)
def test_a_video_that_is_not_read_is_told(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reader(content)


def test_what_follows_a_frame_and_is_none_is_told() -> None:
    y4m = reader(HEADER.replace(b"W34", b"W64") + b"FRAME\n" + bytes(64 * 4 * 3 // 2) + b"Setting pipeline to NULL\n")
    buffer = np.zeros(y4m.most_bytes, np.uint8)
    assert y4m.read(buffer)
    with pytest.raises(InputError, match="what it wrote after a frame is no frame"):
        y4m.read(buffer)


@pytest.mark.parametrize("rate", [b"F0:0", b"F:1", b"Fx", b"F30:0", b"F9999999999:1"])
def test_a_rate_that_is_none_is_not_known(rate: bytes) -> None:
    assert reader(HEADER.replace(b"F30:1", rate)).fps is None
