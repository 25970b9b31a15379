"""Define ``Mirror``: a folder of a store that has the results of a run, and the folder here in which they are made.

Objects of a store do not grow. So a manifest grows here, and its new lines go to the store every half minute, as a part
that is named by its first byte: ``parts/manifest.jsonl.000000001234``. At the end of a run the store has one manifest,
as a folder has it, and of the parts the first one, the settings of the run, by which others are told from it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgeseg._internal.files import scratch_folder
from edgeseg._internal.text import masked
from edgeseg.batch.manifest import MAX_LINE, other_files
from edgeseg.batch.storage import copy_stored, has_stored, read_stored, remove_stored, stored_in, write_stored
from edgeseg.errors import InputError

_PARTS = "parts"
_PART = re.compile(r"(manifest(?:-\d+-of-\d+)?\.jsonl)\.(\d{12})", re.ASCII)

# After how many seconds new lines are a part: what a kill costs, and 2,880 parts a day.
_PART_S = 30.0


class Mirror:
    """A folder of a store and its working copy; see ``mirrored``."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        #: Where files are made.
        self.folder = folder
        self._stale: list[str] = []  # files of the store that a new manifest replaces
        self._parts: dict[int, str] = {}  # by their first bytes
        self._whole = self._kept = 0  # bytes of the manifest in the store, and of that with all parts
        self._kept_s = time.monotonic()
        self._is_cut = False

    def fetch(self, name: str, *, overwrite: bool) -> None:
        """Get the manifest of an earlier run, to go on with it, and those of shards, or the settings of another one.

        Args:
            name: of the manifest.
            overwrite: begin anew where there is one.

        Raises:
            InputError: the folder has other files and no manifest, it cannot be read, or a part is missing.
        """
        names = sorted(stored_in(f"{self.url}/{_PARTS}"))
        found = [match for each in names if (match := _PART.fullmatch(each))]
        parts = self._parts_of(name, found)
        whole = f"{self.url}/{name}"
        others = [part[1] for part in found if not int(part[2]) and part[1] != name]
        if overwrite:
            self._stale = [*parts.values(), *([whole] if has_stored(whole) else [])]
        elif parts or has_stored(whole):
            self._assemble(name, parts)
            self._parts = parts
        elif not others and stored_in(self.url):
            raise other_files(masked(self.url))
        if "-of-" not in name and not overwrite:  # a run of all images takes the results of shards
            kept = self._whole, self._kept, self._is_cut
            for other in others:
                self._assemble(other, self._parts_of(other, found))
            self._whole, self._kept, self._is_cut = kept
        elif others:
            settings = read_stored(f"{self.url}/{_PARTS}/{others[0]}.{0:012d}")
            (self.folder / others[0]).write_bytes(settings)

    def _parts_of(self, name: str, found: Sequence[re.Match[str]]) -> dict[int, str]:
        return {int(part[2]): f"{self.url}/{_PARTS}/{part[0]}" for part in found if part[1] == name}

    def _assemble(self, name: str, parts: dict[int, str]) -> None:
        """Make the working copy of a manifest."""
        path, whole = self.folder / name, f"{self.url}/{name}"
        with open(path, "w+b") as file:
            if has_stored(whole):
                copy_stored(whole, file)
            self._whole = file.tell()
            for start, url in parts.items():
                if start > file.tell():
                    raise InputError(f"the part before '{masked(url)}' is missing; `overwrite=True` begins anew.")
                if start == file.tell():  # else the whole one has it
                    copy_stored(url, file)
            self._kept = file.tell()
            # Of a manifest that somebody brought there after a kill.
            self._is_cut = _cut_last_line(file)
        if self._is_cut and not path.stat().st_size:
            path.unlink()

    @contextmanager
    def keeping(self, manifest: Path) -> Iterator[None]:
        """Bring the lines of a manifest to the store while the block runs, and the whole one at its end.

        Raises:
            InputError: the store cannot be written, or another run writes the same manifest.
        """
        remove_stored(self._stale)
        if self._is_cut:
            self.keep(manifest)
            remove_stored([*self._parts.values()])
            self._parts = {}
            self._whole = self._kept = manifest.stat().st_size
        if 0 not in self._parts:
            with open(manifest, "rb") as file:
                settings = file.readline()
            self._write(manifest, 0, settings)  # refuses what cannot be written before the first image
            self._kept = max(self._kept, len(settings))
        try:
            yield
        finally:
            self._put(manifest)
        if self._whole < self._kept:
            self.keep(manifest)
        remove_stored([url for start, url in self._parts.items() if start])

    def keep_lines(self, manifest: Path) -> None:
        """Bring new lines to the store where half a minute has passed."""
        if time.monotonic() > self._kept_s + _PART_S:
            self._put(manifest)

    def require_room(self, names: Sequence[str], *, overwrite: bool) -> None:
        """Raise ``InputError`` where a file exists and ``overwrite`` is false; call it before long work."""
        for name in () if overwrite else names:
            if has_stored(f"{self.url}/{name}"):
                shown = masked(f"{self.url}/{name}")
                raise InputError(f"'{shown}' exists; give `overwrite=True` or another place.")

    def keep(self, path: Path) -> None:
        """Bring a file of the working copy to the store, in place of one that is there."""
        write_stored(f"{self.url}/{path.name}", path)

    def shown(self, path: Path) -> str:
        """Return the address of a file of the working copy."""
        return masked(f"{self.url}/{path.name}")

    def _put(self, manifest: Path) -> None:
        """Bring the lines that the store lacks there, as a part."""
        with open(manifest, "rb") as file:
            file.seek(self._kept)
            lines = file.read()
        self._kept_s = time.monotonic()
        if lines:
            self._write(manifest, self._kept, lines)
            self._kept += len(lines)

    def _write(self, manifest: Path, start: int, lines: bytes) -> None:
        url = f"{self.url}/{_PARTS}/{manifest.name}.{start:012d}"
        if has_stored(url):
            raise InputError(f"'{self.shown(manifest)}' is being written by another run; let it end.")
        write_stored(url, lines)
        self._parts[start] = url


def _cut_last_line(file: BinaryIO) -> bool:
    """Cut off a last line that is not whole; return whether there was one."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - MAX_LINE))
    lacking = len(file.read().rpartition(b"\n")[2])
    if lacking:
        file.truncate(end - lacking)
    return lacking > 0


@contextmanager
def mirrored(url: str) -> Iterator[Mirror]:
    """Yield a mirror whose working copy is removed at the end; errors name the address and not the copy.

    Args:
        url: as ``storage.place_of`` returns it.
    """
    with scratch_folder() as folder:
        try:
            yield Mirror(url, folder)
        except InputError as error:
            raise InputError(str(error).replace(str(folder), masked(url))) from error
