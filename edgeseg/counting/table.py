"""Write the counts of images and frames as CSV, a row a frame and region."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from edgeseg._internal.files import atomic_path, csv_text, growing_path, refuse_existing, require_writable_folder
from edgeseg.counting.counts import RegionCounts
from edgeseg.spec import ModelSpec

# Spreadsheets compute what begins so, and may run a program by it (CWE-1236); a quote makes it text.
_COMPUTED = ("=", "+", "-", "@", "\t", "\r")


class CountsTable:
    """Appends rows to a CSV file: name, time, region, and of each class its pixels and its share.

    Examples:
        >>> with CountsTable("counts.csv", spec) as table:
        ...     table.add("street", None, count(segmentation.class_map, spec))

    Attributes:
        path: of the file; it is created with the first row.
        num_rows: written so far.
    """

    def __init__(self, path: str | Path, spec: ModelSpec, *, overwrite: bool = False, growing: bool = False) -> None:
        """Prepare; nothing is created before the first row.

        Args:
            path: of the file.
            spec: names of the classes.
            overwrite: replace a file that exists.
            growing: write into the file itself, for a run without an end, which may be killed; otherwise it has its
                name when it is complete.

        Raises:
            InputError: the file exists, or its folder cannot be written to.
        """
        self.path = Path(path)
        self.num_rows = 0
        self._spec, self._overwrite, self._growing = spec, overwrite, growing
        self._stack = ExitStack()
        self._file: TextIO | None = None
        refuse_existing(self.path, overwrite=overwrite)
        require_writable_folder(self.path.parent)

    def add(self, name: str, time_s: float | None, counts: Iterable[RegionCounts]) -> None:
        """Append the rows of an image.

        Args:
            name: of the image or frame.
            time_s: when it is shown, in seconds; ``None`` for an image.
            counts: of the whole image and its regions.

        Raises:
            InputError: the file cannot be written.
        """
        if self._file is None:
            self._begin()
        assert self._file is not None
        rows = [self._row(name, time_s, each) for each in counts]
        self._file.write(csv_text(rows))
        if self._growing:
            self._file.flush()
        self.num_rows += len(rows)

    def __enter__(self) -> CountsTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, tb)

    def _begin(self) -> None:
        path = growing_path if self._growing else atomic_path
        with ExitStack() as stack:
            place = stack.enter_context(path(self.path, overwrite=self._overwrite))
            self._file = stack.enter_context(open(place, "w", encoding="utf-8", errors="backslashreplace", newline=""))
            self._stack = stack.pop_all()
        columns = [f"{name}_{what}" for name in self._spec.class_names for what in ("pixels", "share")]
        self._file.write(csv_text([["name", "time_s", "region", "pixels", "mm2_per_pixel", *map(_text, columns)]]))

    def _row(self, name: str, time_s: float | None, counts: RegionCounts) -> list[Any]:
        area = "" if counts.mm2_per_pixel is None else f"{counts.mm2_per_pixel:.9g}"
        row = [_text(name), "" if time_s is None else f"{time_s:.6f}", _text(counts.region), counts.size, area]
        for pixels, share in zip(counts.pixels.values(), counts.shares.values(), strict=True):
            row += [pixels, "" if share is None else f"{share:.6f}"]
        return row


def _text(text: str) -> str:
    return f"'{text}" if text.startswith(_COMPUTED) else text
