"""Keep a class map on the disk while it grows, with a journal beside it, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import require_writable_folder, write_text
from edgeseg._internal.json import Meta, WrongValue, decode
from edgeseg._internal.locks import SUFFIX as LOCK
from edgeseg._internal.locks import exclusive
from edgeseg.errors import InputError
from edgeseg.rasters.base import MAX_SIDE

# Bytes of the longest journal that is read.
_MAX_BYTES = 1 << 16
# Bytes of the class map that are read at once.
_PART_BYTES = 1 << 24

_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Meta(ge=0, le=MAX_SIDE)]
_Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What a growing class map is of, and how far it is.

    Attributes:
        source: SHA-256 of the raster's name, size in bytes and time.
        model: SHA-256 of the model's spec, and of what it answers to a fixed image.
        settings: SHA-256 of the overlap and the bands.
        size_hw: ``(H, W)`` in pixels.
        bands: bands of windows that are finished.
        rows: rows that are.
        format_version: of this file.
    """

    source: _Hash
    model: _Hash
    settings: _Hash
    size_hw: tuple[_Side, _Side]
    bands: _Count = 0
    rows: _Count = 0
    format_version: Annotated[int, Meta(ge=1, le=1)] = 1


class GrowingMap:
    """A class map whose first rows are on the disk: one byte a pixel, row after row."""

    def __init__(self, file: BinaryIO, path: Path, journal: Journal) -> None:
        """Take an open file and what is known of it; ``growing_map`` makes one."""
        self._file, self._path = file, path
        self.journal = journal

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Add the rows of a band of windows, ``(h, W)`` uint8; they are on the disk before the journal says so.

        Raises:
            InputError: the disk is full.
        """
        width = self.journal.size_hw[1]
        try:
            self._file.seek(self.journal.rows * width)
            self._file.write(np.ascontiguousarray(rows).tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"'{self._path}' cannot be written: {error.strerror}.") from error
        self.journal = replace(self.journal, bands=self.journal.bands + 1, rows=self.journal.rows + len(rows))
        _write(self._path, self.journal)

    def parts(self) -> Iterator[NDArray[np.uint8]]:
        """Read the rows again, some at once, ``(h, W)`` uint8."""
        height, width = self.journal.size_hw
        step = max(1, _PART_BYTES // width)
        self._file.seek(0)
        for top in range(0, height, step):
            count = min(step, height - top)
            yield np.frombuffer(self._file.read(count * width), np.uint8).reshape(count, width)


@contextmanager
def growing_map(target: Path, journal: Journal, *, overwrite: bool = False) -> Iterator[GrowingMap]:
    """Open the growing class map of a file, or begin it: ``TARGET.part``, with its journal ``TARGET.part.json``.

    Both are removed when the block ends without an error, or without a row. They stay where it fails later, or the
    process is killed.

    Args:
        target: the file that is made of it at the end.
        journal: what is to be made; what is there is gone on with where it is of the same.
        overwrite: whether what is there of something else may be replaced.

    Raises:
        InputError: what is there is of something else, or damaged; another process is writing it; or the folder cannot
            be written.
    """
    require_writable_folder(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with exclusive(target.with_name(f".{part.name}{LOCK}"), f"'{target}'"):
        kept = _kept(part, journal, overwrite=overwrite)
        if kept is None:
            _journal_of(part).unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            part.touch(exist_ok=False)
            _write(part, journal)
        with part.open("r+b") as file:
            growing, finished = GrowingMap(file, part, kept or journal), False
            try:
                yield growing
                finished = True
            finally:
                file.close()  # an open file cannot be removed everywhere
                if finished or not growing.journal.rows:
                    part.unlink()
                    _journal_of(part).unlink()


def _kept(part: Path, journal: Journal, *, overwrite: bool) -> Journal | None:
    """Return the journal of what is there, where it can be gone on with; ``None`` to begin."""
    path = _journal_of(part)
    if not part.exists() and not path.exists():
        return None
    reason = "it has no journal"
    if path.is_file() and part.is_file():
        reason, kept = _compared(part, path, journal)
        if kept is not None:
            return kept
    if overwrite:
        return None
    raise InputError(
        f"'{part}' is the beginning of another result ({reason}); remove it, give `overwrite=True`, or name another "
        "place."
    )


def _compared(part: Path, path: Path, journal: Journal) -> tuple[str, Journal | None]:
    """Return what a journal has otherwise, and the journal where it has nothing otherwise."""
    if path.stat().st_size > _MAX_BYTES:
        return "its journal is damaged", None
    try:
        kept = decode(path.read_bytes(), Journal)
    except WrongValue as error:
        return f"its journal is damaged: {error}", None
    what = {"source": "another image", "model": "another model or runtime", "settings": "another overlap or bands"}
    for name, reason in what.items():
        if getattr(kept, name) != getattr(journal, name):
            return reason, None
    (height, width), bytes_there = kept.size_hw, part.stat().st_size
    if kept.size_hw != journal.size_hw or kept.rows > height or bytes_there < kept.rows * width:
        return "it is shorter than its journal says", None
    return "", kept


def _journal_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write(part: Path, journal: Journal) -> None:
    write_text(_journal_of(part), json.dumps(asdict(journal)), overwrite=True)
