"""Reads a whole data set and says everything that is wrong with it, and how its pixels are shared out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseg.datasets.classes import Classes
from edgeseg.datasets.faults import BadExample, FaultKind
from edgeseg.datasets.layouts import Found, list_split
from edgeseg.datasets.source import Data, LabelledSplit, empty_text, encoding_of, find_data
from edgeseg.errors import InputError
from edgeseg.files import sha256
from edgeseg.imaging import read_bytes
from edgeseg.spec import DataLayout, LabelEncoding

FindingKind = FaultKind | Literal["empty_split", "duplicate", "class_never_occurs", "unused_label"]

# What a user may want as it is: training works with it.
_WARNINGS = ("class_never_occurs", "unused_label")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what.
        path: the file or folder, or the class.
        text: a sentence.
    """

    kind: FindingKind
    path: str
    text: str

    @property
    def is_error(self) -> bool:
        """Whether training would fail or the scores be untrue; else it is only worth knowing."""
        return self.kind not in _WARNINGS


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        layout: how the data set keeps its files.
        label_encoding: how its labels show the classes.
        classes: its classes.
        num_pairs: readable pairs of each split.
        pixels: for each split ``(C,)`` int64, pixels of each class in its readable pairs.
        ignored_pixels: for each split, pixels of no class.
        findings: what is wrong; errors first, by split and file.
    """

    layout: DataLayout
    label_encoding: LabelEncoding
    classes: Classes
    num_pairs: dict[str, int]
    pixels: dict[str, NDArray[np.int64]]
    ignored_pixels: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that must be mended."""
        return tuple(finding for finding in self.findings if finding.is_error)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are only worth knowing."""
        return tuple(finding for finding in self.findings if not finding.is_error)

    def shares(self, split: str) -> NDArray[np.float64]:
        """``(C,)``: the share in [0, 1] of a split's pixels that each class has; ignored pixels are not counted."""
        counts = self.pixels[split].astype(np.float64)
        shares: NDArray[np.float64] = counts / max(1, counts.sum())
        return shares

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``edgeseg data check --json``."""
        names = self.classes.names
        return {
            "format_version": 1,
            "layout": self.layout,
            "label_encoding": self.label_encoding,
            "classes": self.classes.to_dict(),
            "splits": {
                split: {
                    "num_pairs": self.num_pairs[split],
                    "pixels": dict(zip(names, self.pixels[split].tolist(), strict=True)),
                    "ignored_pixels": self.ignored_pixels[split],
                }
                for split in self.num_pairs
            },
            "errors": [vars(finding) for finding in self.errors],
            "warnings": [vars(finding) for finding in self.warnings],
        }


def check(
    data: Data,
    *,
    splits: Sequence[str] | None = None,
    num_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckResult:
    """Read every pair of a data set.

    Args:
        data: the data set, in any layout.
        splits: which of its splits; all when left out, VOC's ``trainval`` only where it is the only one.
        num_threads: that read; one a core when left out.
        progress: called with (pairs done, pairs in all).

    Raises:
        InputError: it is no data set, its classes are not known, or it has no such split.
    """
    found, classes = find_data(data)
    encoding = encoding_of(found, classes)
    chosen = tuple(splits) if splits is not None else _own_splits(found)
    work = {
        split: _Work(LabelledSplit(classes, listing.pairs, encoding)) for split, listing in _listings(found, chosen)
    }
    findings = [finding for split in chosen for finding in _of_listing(found, split)]
    total, done = sum(len(one.data) for one in work.values()), 0
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        for one in work.values():
            for read in pool.map(one.read, range(len(one.data))):
                one.add(read)
                done += 1
                if progress:
                    progress(done, total)
    findings += [finding for one in work.values() for finding in one.findings]
    findings += _duplicates(work)
    findings += _never(classes, work)
    findings.sort(key=lambda finding: not finding.is_error)  # stable: otherwise in the order of the splits
    size = len(classes.names)
    return CheckResult(
        found.layout,
        encoding,
        classes,
        {split: one.num_good for split, one in work.items()},
        {split: one.counts[:size] for split, one in work.items()},
        {split: int(one.counts[size:].sum()) for split, one in work.items()},
        tuple(findings),
    )


@dataclass(frozen=True)
class _Read:
    """One pair: pixels by class, with the ignored ones last; the picture's hash; or what is wrong with it."""

    path: Path
    counts: NDArray[np.int64] | None = None
    digest: str | None = None
    fault: BadExample | None = None


@dataclass
class _Work:
    """A split and what has been found in it so far."""

    data: LabelledSplit
    num_good: int = 0
    counts: NDArray[np.int64] = field(init=False)
    findings: list[Finding] = field(default_factory=list)
    pictures: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.data.classes.names) + 1, np.int64)

    def read(self, index: int) -> _Read:
        """One pair, in whatever thread."""
        path, classes = self.data.pairs[index][0], self.data.classes
        try:
            _, label = self.data[index]
            content = read_bytes(path).tobytes()
            if is_cut_off(content):
                raise BadExample("does_not_decode", path, f"'{path}' is truncated: its end is missing.")
        except BadExample as fault:
            return _Read(path, fault=fault)
        by_id = np.bincount(label.ravel(), minlength=256)
        counts = by_id[: len(classes.names)].copy()
        if classes.ignore_index is not None and classes.ignore_index < len(counts):
            counts[classes.ignore_index] = 0
        return _Read(path, np.append(counts, label.size - counts.sum()), sha256(content))

    def add(self, read: _Read) -> None:
        """Count what was read."""
        if read.fault is not None:
            self.findings.append(_finding(read.fault))
        elif read.counts is not None and read.digest is not None:
            self.num_good += 1
            self.counts += read.counts
            self.pictures.setdefault(read.digest, read.path)


def is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG file lacks its end; OpenCV shows what there is of it and says nothing."""
    if content.startswith(b"\xff\xd8"):
        # Neither marker occurs inside coded pixels: the last scan must have an end behind it.
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    return content.startswith(b"\x89PNG") and b"IEND" not in content[-4096:]


def _own_splits(found: Found) -> tuple[str, ...]:
    return tuple(split for split in found.splits if split != "trainval" or len(found.splits) == 1)


def _listings(found: Found, splits: Sequence[str]) -> Iterator[tuple[str, Any]]:
    return ((split, list_split(found, split)) for split in splits)


def _finding(fault: BadExample) -> Finding:
    return Finding(fault.kind, str(fault.path), str(fault))


def _of_listing(found: Found, split: str) -> Iterator[Finding]:
    """What is wrong before any file is read."""
    listing = list_split(found, split)
    yield from map(_finding, listing.missing)
    if not listing.pairs and not listing.missing:
        yield Finding("empty_split", str(listing.place), empty_text(listing.place))
    for path in listing.unused:
        yield Finding("unused_label", str(path), f"'{path}' has no picture; it is left out.")


def _duplicates(work: dict[str, _Work]) -> Iterator[Finding]:
    first: dict[str, tuple[str, Path]] = {}
    for split, one in work.items():
        for digest, path in one.pictures.items():
            other, known = first.setdefault(digest, (split, path))
            if other != split:
                text = (
                    f"'{path}' of {split} is the same picture as '{known}' of {other}: the score of {split} is untrue."
                )
                yield Finding("duplicate", str(path), text)


def _never(classes: Classes, work: dict[str, _Work]) -> Iterator[Finding]:
    total = sum((one.counts for one in work.values()), np.zeros(len(classes.names) + 1, np.int64))
    for index, name in enumerate(classes.names):
        if index != classes.ignore_index and total.any() and not total[index]:
            yield Finding("class_never_occurs", name, f"the class '{name}' (id {index}) is in no label.")


def require_good(result: CheckResult, what: str, tell: Callable[[str], None], *, limit: int = 20) -> None:
    """Stop where a check found errors, after telling which files they are about.

    Args:
        result: the check.
        what: what does not happen, such as ``nothing was trained``.
        tell: gets a line for each error, and one for the rest of them.
        limit: lines at most.

    Raises:
        InputError: there are errors.
    """
    errors = result.errors
    if not errors:
        return
    for finding in errors[:limit]:
        tell(finding.text)
    if len(errors) > limit:
        tell(f"and {len(errors) - limit} more; edgeseg data check lists them all.")
    noun = "problem" if len(errors) == 1 else "problems"
    raise InputError(f"the data has {len(errors)} {noun}: {what}. Mend the files, or give --no-check.")
