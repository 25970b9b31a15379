"""Define ``Manifest``: the file in the folder of the results that remembers which images are done, and with what.

It is only ever appended to: a line of JSON for each image, after a first one with the settings of the run. A line is
handed to the system at once, so that ``kill -9`` loses none, and to the disk after some hundred of them, so that a
power loss costs a second of work. What a killed process left of a last line is cut off by the next one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from edgeseg._internal.files import appending_path
from edgeseg._internal.json import FEW, Meta, Text, WrongValue, decode
from edgeseg.batch.record import Record
from edgeseg.errors import InputError

FORMAT_VERSION = 1

#: Bytes of the longest line: a confusion matrix of 256 classes, twice, without an empty cell.
MAX_LINE = 1 << 22

# After how many lines, or seconds, they are on the disk.
_SYNC_LINES, _SYNC_S = 512, 1.0


class _Names(Protocol):
    """What finds the place of a name, such as ``Listing``."""

    def __len__(self) -> int: ...

    def index(self, name: str) -> int | None: ...


@dataclass(frozen=True)
class _Header:
    """The first line.

    Attributes:
        format_version: of the file.
        settings: what was done, by what; another run of the folder must have the same.
    """

    format_version: Annotated[int, Meta(ge=1, le=1000)]
    settings: Annotated[Mapping[Text, Text], Meta(max_length=FEW)]


class Manifest:
    """An open manifest, which no other process may write; see ``open_manifest``."""

    def __init__(self, path: Path, handle: int, done: bytearray, num_failed: int) -> None:
        self.path = path
        self._handle = handle
        self._unsynced, self._synced_s = 0, time.monotonic()
        #: Of each image of the listing, by its place, whether it has a result.
        self.done = done
        #: Images that a run before this one could not do; they are tried again.
        self.num_failed = num_failed

    def append(self, record: Record) -> None:
        """Add the line of an image.

        Raises:
            InputError: the disk is full, say.
        """
        line = record.line()
        try:
            written = os.write(self._handle, line)
            if written < len(line):  # a disk that is about to be full takes a part
                os.write(self._handle, line[written:])
            self._unsynced += 1
            if self._unsynced >= _SYNC_LINES or time.monotonic() > self._synced_s + _SYNC_S:
                self.sync()
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be written: {error.strerror}.") from error

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        if self._unsynced:
            os.fsync(self._handle)
        self._unsynced, self._synced_s = 0, time.monotonic()


@contextmanager
def open_manifest(
    path: Path, settings: Mapping[str, str], names: _Names, *, overwrite: bool = False
) -> Iterator[Manifest]:
    """Open a manifest to go on with it, or begin one.

    Args:
        path: the file.
        settings: of this run, as text by their names.
        names: the images of this run.
        overwrite: begin anew where there is one.

    Raises:
        InputError: it is of a run with other settings, is damaged, is being written, or cannot be written; or there is
            none, and the folder has other files.
    """
    with ExitStack() as held:
        held.enter_context(appending_path(path))
        done, num_failed = bytearray(len(names)), 0
        end = 0
        if path.exists() and not overwrite:
            end, num_failed = _read_done(path, settings, names, done)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(path, flags, 0o666)
            held.callback(os.close, handle)
            os.ftruncate(handle, end)
            if not end:
                header = msgspec.json.encode({"format_version": FORMAT_VERSION, "settings": dict(settings)})
                os.write(handle, header + b"\n")
            os.fsync(handle)
        except OSError as error:
            raise InputError(f"'{path}' cannot be written: {error.strerror}.") from error
        manifest = Manifest(path, handle, done, num_failed)
        yield manifest
        manifest.sync()


def other_files(place: str) -> InputError:
    """Build the error for a folder of results, here or in a store, that has files and no manifest."""
    return InputError(
        f"'{place}' has files and no manifest of a run; give another place, or `overwrite=True` to write among them."
    )


def settings_of(path: Path) -> dict[str, str]:
    """Return the settings of a manifest.

    Raises:
        InputError: it cannot be read, or is none.
    """
    with _opened(path) as file:
        return dict(_header(path, file.readline(MAX_LINE + 1)).settings)


def require_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Raise ``InputError`` where a manifest is of a run with other settings; the text says which."""
    found = settings_of(path)
    for name in [*settings, *found]:
        if found.get(name) != settings.get(name):
            was, now = found.get(name, "nothing"), settings.get(name, "nothing")
            raise InputError(
                f"'{path.parent}' has results of another run, whose {name} is {was}, not {now}; give another place, or "
                "`overwrite=True` to begin anew."
            )


def records(path: Path) -> Iterator[Record]:
    """Read the last line of each image, in the order of the lines; what a kill left of a line is skipped.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    # An image that failed may have succeeded later: only those few names are kept.
    failed = {record.name for record, _ in _lines(path) if record.error is not None}
    last = {record.name: number for number, (record, _) in enumerate(_lines(path)) if record.name in failed}
    for number, (record, _) in enumerate(_lines(path)):
        if record.name not in failed or last[record.name] == number:
            yield record


def _read_done(path: Path, settings: Mapping[str, str], names: _Names, done: bytearray) -> tuple[int, int]:
    """Mark what is done; return the length of the whole lines, and how many images failed."""
    with _opened(path) as file:
        first = file.readline(MAX_LINE + 1)
    if not first.endswith(b"\n") and len(first) <= MAX_LINE:
        return 0, 0  # killed before its first line was whole
    require_settings(path, settings)
    end = len(first)
    failed: set[int] = set()
    for record, length in _lines(path):
        end += length
        place = names.index(record.name)
        if place is None:
            continue  # an image that is gone, whose result stays
        if record.error is None and done[place]:
            raise InputError(f"'{path}' has two results of '{record.name}'; remove one of the lines.")
        done[place] = record.error is None
        (failed.discard if record.error is None else failed.add)(place)
    return end, len(failed)


def _lines(path: Path) -> Iterator[tuple[Record, int]]:
    """Yield each record and the length of its line in bytes."""
    with _opened(path) as file:
        _header(path, file.readline(MAX_LINE + 1))
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 2):
            if not line.endswith(b"\n") and len(line) <= MAX_LINE:
                return  # what a kill left of the last line
            try:
                if len(line) > MAX_LINE:
                    raise WrongValue(f"it has more than {MAX_LINE >> 20} MiB")
                yield decode(line, Record), len(line)
            except WrongValue as error:
                raise InputError(f"'{path}', line {number}: {error}.") from error


def _header(path: Path, line: bytes) -> _Header:
    try:
        header = decode(line, _Header)
    except WrongValue as error:
        raise InputError(f"'{path}' is no manifest of edgeseg: {error}.") from error
    if header.format_version != FORMAT_VERSION:
        raise InputError(
            f"'{path}' has format version {header.format_version}; this edgeseg reads {FORMAT_VERSION}: take the one "
            "that wrote it."
        )
    return header


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; what reads it has errors of its own
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    with file:
        yield file
