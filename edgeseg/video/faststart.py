"""Move the index of an MP4 or MOV file to its beginning, so that a player on the network starts at once."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import BinaryIO

from edgeseg._internal.files import atomic_path

#: Bytes of the largest file that is copied for it, and seconds that this may take: a recording ends at once. A longer
#: one keeps its index at the end, which files on a disk and servers with ranges play as well.
MAX_BYTES = 1 << 30
MAX_S = 1.0

#: The index of a recording has 8 to 20 bytes a frame: this is days.
_MAX_INDEX_BYTES = 1 << 27
_PIECE = 4 << 20
_CONTAINERS = (b"trak", b"mdia", b"minf", b"stbl")


def move_index(path: Path) -> bool:
    """Put the index of a finished file before its frames, in a copy that takes the file's name when it is whole.

    Returns:
        False where the file stays as it is: it is too large, its disk too slow or too full, or the index is in front.
    """
    deadline_s = time.monotonic() + MAX_S
    size = path.stat().st_size
    with path.open("rb") as source:
        boxes = _top_boxes(source, size)
        index = next(((at, length) for kind, at, length in boxes if kind == b"moov"), None)
        frames = next((at for kind, at, _ in boxes if kind == b"mdat"), None)
        if index is None or frames is None or index[0] < frames:
            return False
        at, length = index
        room = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize if hasattr(os, "statvfs") else size
        if size > MAX_BYTES or length > _MAX_INDEX_BYTES or room < size + (1 << 20):
            return False
        source.seek(at)
        moved = bytearray(source.read(length))
        _shift(moved, 8, length, by=length)
        try:
            with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as copy:
                _copy(source, copy, 0, frames, deadline_s)
                copy.write(moved)
                _copy(source, copy, frames, at, deadline_s)
                _copy(source, copy, at + length, size, deadline_s)
        except TimeoutError:
            return False
    return True


def _top_boxes(source: BinaryIO, size: int) -> list[tuple[bytes, int, int]]:
    """Return kind, place and length of each box of a file."""
    boxes: list[tuple[bytes, int, int]] = []
    at = 0
    while at + 8 <= size and len(boxes) < 1000:
        source.seek(at)
        head = source.read(16)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        length = size - at if length == 0 else length
        if length < 8 or at + length > size:
            return []  # not a whole file
        boxes.append((kind, at, length))
        at += length
    return boxes


def _shift(index: bytearray, start: int, end: int, *, by: int) -> None:
    """Add ``by`` to the place in the file of every chunk that the index names."""
    at = start
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", index, at)
        if length < 8 or at + length > end:
            raise ValueError("the index of a video that was just written is damaged")
        if kind in _CONTAINERS:
            _shift(index, at + 8, at + length, by=by)
        elif kind in (b"stco", b"co64"):
            (count,) = struct.unpack_from(">I", index, at + 12)
            places = f">{count}{'I' if kind == b'stco' else 'Q'}"
            moved = [place + by for place in struct.unpack_from(places, index, at + 16)]
            struct.pack_into(places, index, at + 16, *moved)
        at += length


def _copy(source: BinaryIO, copy: BinaryIO, start: int, end: int, deadline_s: float) -> None:
    source.seek(start)
    while start < end:
        if time.monotonic() > deadline_s:
            raise TimeoutError
        piece = source.read(min(_PIECE, end - start))
        copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())  # else the wait for the disk comes at the end, where no deadline sees it
        start += len(piece)
