"""Read a whole data set and report everything that is wrong with it, and the share of each class in its pixels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import sha256
from edgeseg._internal.progress import Progress
from edgeseg.choices import LabelEncoding
from edgeseg.datasets.classes import Classes
from edgeseg.datasets.faults import BadExample
from edgeseg.datasets.findings import CheckResult, Finding
from edgeseg.datasets.labels import is_lossy, read_palette
from edgeseg.datasets.layouts import Dataset, Listing, list_split
from edgeseg.datasets.source import Data, LabeledSplit, empty_text, encoding_of, find_data
from edgeseg.datasets.statistics import ImageSizes
from edgeseg.datasets.transitions import SHARE, Transitions, transitions
from edgeseg.imaging import read_bytes

# Not the fill byte, and not what occurs inside coded pixels: a stuffed 0xFF and the restarts.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
# Why a split must have a pixel that counts; the other splits are for training.
_WITHOUT_PIXELS = {"val": "no epoch can be the best", "test": "there is nothing to score"}


def check(
    data: Data,
    *,
    splits: Sequence[str] | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Read every pair of a data set.

    Args:
        data: the data set, in any layout.
        splits: which of its splits; all when ``None``, VOC's ``trainval`` only where it is the only one.
        num_threads: threads that read; one per core when ``None``.
        progress: called with (pairs done, pairs in all).

    Raises:
        InputError: it is no data set, its classes are not known, or it does not have one of the splits.
    """
    dataset, classes = find_data(data)
    chosen = splits if splits is not None else _own_splits(dataset)
    listings = {split: list_split(dataset, split) for split in dict.fromkeys(chosen)}
    encoding = encoding_of(dataset, classes, listings)
    work = {split: _Work(data=LabeledSplit(classes, listing.pairs, encoding)) for split, listing in listings.items()}
    findings = [finding for listing in listings.values() for finding in _of_listing(listing)]
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
    findings += _nothing_counts(classes, work)
    findings += _never(classes, work)
    findings += _palettes(work)
    findings += _mostly_class_1(classes, encoding, work)
    findings += _lossy(encoding, work)
    findings += _interpolated(classes, work)
    findings.sort(key=lambda finding: not finding.is_error)  # stable: otherwise in the order of the splits
    size = len(classes.names)
    return CheckResult(
        layout=dataset.layout,
        label_encoding=encoding,
        classes=classes,
        num_pairs={split: one.num_good for split, one in work.items()},
        pixels={split: one.counts[:size] for split, one in work.items()},
        ignored_pixels={split: int(one.counts[size:].sum()) for split, one in work.items()},
        sizes=ImageSizes.of(size for one in work.values() for size in one.sizes),
        findings=tuple(findings),
    )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """One pair: pixels by class with the ignored ones last, the image's hash, what the label is like; or a fault."""

    path: Path
    label: Path
    counts: NDArray[np.int64] | None = None
    size: tuple[int, int] = (0, 0)
    digest: str | None = None
    palette: bytes = b""
    edges: Transitions | None = None
    fault: BadExample | None = None


@dataclass(kw_only=True)
class _Work:
    """A split and what the check has found in it so far."""

    data: LabeledSplit
    num_good: int = 0
    counts: NDArray[np.int64] = field(init=False)
    findings: list[Finding] = field(default_factory=list)
    images: dict[str, Path] = field(default_factory=dict)
    palettes: dict[bytes, list[Path]] = field(default_factory=dict)
    edges: dict[Path, Transitions] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.data.classes.names) + 1, np.int64)

    @property
    def num_counted(self) -> int:
        """The number of pixels that are not ignored."""
        return int(self.counts[:-1].sum())

    def read(self, index: int) -> _Read:
        """Read one pair, in any thread."""
        (path, label_path), classes = self.data.pairs[index], self.data.classes
        try:
            _, label = self.data[index]
            content = read_bytes(path).tobytes()
            if is_cut_off(content):
                raise BadExample("does_not_decode", path, f"'{path}' is truncated: its end is missing.")
        except BadExample as fault:
            return _Read(path=path, label=label_path, fault=fault)
        by_id = np.bincount(label.ravel(), minlength=256)
        counts = by_id[: len(classes.names)].copy()
        if classes.ignore_index is not None and classes.ignore_index < len(counts):
            counts[classes.ignore_index] = 0
        by_index = self.data.label_encoding == "ids"
        palette = read_palette(label_path) if by_index else b""
        return _Read(
            path=path,
            label=label_path,
            size=(label.shape[0], label.shape[1]),
            counts=np.append(counts, label.size - counts.sum()),
            digest=sha256(content),
            palette=palette[: 3 * len(counts)],
            edges=transitions(label, classes.ignore_index) if by_index and len(counts) > 2 else None,
        )

    def add(self, read: _Read) -> None:
        """Count a pair that was read."""
        if read.fault is not None:
            self.findings.append(_finding(read.fault))
        elif read.counts is not None and read.digest is not None:
            self.num_good += 1
            self.sizes.append(read.size)
            self.counts += read.counts
            self.images.setdefault(read.digest, read.path)
            if read.edges is not None:
                self.edges[read.label] = read.edges
            if read.palette:
                self.palettes.setdefault(read.palette, []).append(read.label)


def is_cut_off(content: bytes) -> bool:
    """Return whether a JPEG or PNG file lacks its end; OpenCV shows what there is of it and reports nothing."""
    if content.startswith(b"\xff\xd8"):
        return not _jpeg_ends(content)
    return content.startswith(b"\x89PNG") and content.rfind(b"IEND") < 0


def _jpeg_ends(content: bytes) -> bool:
    """Return whether its segments (ITU-T T.81, annex B) lead to an end; a phone may add anything after that."""
    position = 2
    while marker := _JPEG_MARKER.search(content, position):
        if marker[0] == b"\xff\xd9":
            return True
        # After the header of a scan its coded pixels are skipped, as no marker occurs in them.
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return False


def _own_splits(dataset: Dataset) -> tuple[str, ...]:
    return tuple(split for split in dataset.splits if split != "trainval" or len(dataset.splits) == 1)


def _finding(fault: BadExample) -> Finding:
    return Finding(fault.kind, str(fault.path), str(fault))


def _of_listing(listing: Listing) -> Iterator[Finding]:
    """Report what is wrong before any file is read."""
    yield from map(_finding, listing.faults)
    if not listing.pairs and not listing.faults:
        yield Finding("empty_split", str(listing.place), empty_text(listing.place))
    for path in listing.unused:
        yield Finding("unused_label", str(path), f"'{path}' has no image; it is omitted.")


def _duplicates(work: dict[str, _Work]) -> Iterator[Finding]:
    first: dict[str, tuple[str, Path]] = {}
    for split, one in work.items():
        for digest, path in one.images.items():
            other, known = first.setdefault(digest, (split, path))
            if other != split:
                text = f"'{path}' of {split} is the same image as '{known}' of {other}: the score of {split} is untrue."
                yield Finding("duplicate", str(path), text)


def _never(classes: Classes, work: dict[str, _Work]) -> Iterator[Finding]:
    """Report classes that no label has, and those that only a score would ask for."""
    # For a split without any labeled pixel, `_nothing_counts` reports everything.
    counted = [split for split, one in work.items() if one.num_counted]
    for index, name in enumerate(classes.names):
        if index == classes.ignore_index:
            continue
        within = [split for split in counted if work[split].counts[index]]
        if counted and not within:
            yield Finding("class_never_occurs", name, f"the class '{name}' (id {index}) is in no label.")
        elif "train" in counted and "train" not in within:
            places = " and ".join(within)
            text = f"the class '{name}' (id {index}) is in {places} but in no label of train: it cannot be learned."
            yield Finding("class_not_in_train", name, text)


def _nothing_counts(classes: Classes, work: dict[str, _Work]) -> Iterator[Finding]:
    for split, one in work.items():
        if one.num_good and not one.num_counted:
            why = _WITHOUT_PIXELS.get(split, "there is nothing to learn from")
            ignored = f"all are the ignored id {classes.ignore_index}"
            text = f"no pixel of the readable labels of {split} counts, {ignored}: {why}."
            yield Finding("nothing_counts", split, text)


def _mostly_class_1(classes: Classes, encoding: LabelEncoding, work: dict[str, _Work]) -> Iterator[Finding]:
    """Report binary labels whose class 1 covers most: usually its side of the threshold is the other one."""
    if encoding not in ("binary", "binary-dark"):
        return
    background, foreground = sum((one.counts[:2] for one in work.values()), np.zeros(2, np.int64)).tolist()
    if foreground <= background:
        return
    side, other = ("bright", "binary-dark") if encoding == "binary" else ("dark", "binary")
    name, share = classes.names[1], foreground / (background + foreground)
    text = (
        f"class 1, '{name}', covers {100 * share:.0f} % of the pixels: it is what is {side} in the labels. Where "
        f"'{name}' is the other side, give `label_encoding={other!r}`."
    )
    yield Finding("covers_most", name, text)


def _palettes(work: dict[str, _Work]) -> Iterator[Finding]:
    """Report labels whose indices may mean other classes: a program that sorts a palette renumbers them all."""
    usual: dict[bytes, list[Path]] = {}
    for one in work.values():
        for palette, paths in one.palettes.items():
            usual.setdefault(palette, []).extend(paths)
    most = max(usual, key=lambda palette: len(usual[palette]), default=b"")
    for palette, paths in usual.items():
        known = min(len(palette), len(most))  # a palette may end where its image's last index does
        if palette[:known] != most[:known]:
            for path in paths:
                text = f"'{path}' has another palette than most labels: its indices may mean other classes."
                yield Finding("palette_differs", str(path), text)


def _lossy(encoding: LabelEncoding, work: dict[str, _Work]) -> Iterator[Finding]:
    """Report labels in a format that changes numbers, which a threshold tolerates and ids and colors do not."""
    if encoding not in ("ids", "colors"):
        return
    labels = [label for one in work.values() for _, label in one.data.pairs]
    lossy = [path for path in labels if is_lossy(path)]
    if lossy:
        text = (
            f"{len(lossy)} of {len(labels)} labels are in a lossy format, such as '{lossy[0]}': it changes {encoding} "
            "along edges. Make PNG labels of the originals; a PNG of these files would keep the damage."
        )
        yield Finding("lossy_format", str(lossy[0]), text)


def _interpolated(classes: Classes, work: dict[str, _Work]) -> Iterator[Finding]:
    """Report ids that only lead from one class to another, once for all labels."""
    by_label = {path: edges for one in work.values() for path, edges in one.edges.items()}
    total = Transitions()
    for edges in by_label.values():
        total.add(edges)
    found = total.interpolated()
    if found is None:
        return
    low, high, middle = (f"'{classes.names[index]}'" for index in found)
    count = sum(edges.share >= SHARE for edges in by_label.values())
    path = max(by_label, key=lambda label: by_label[label].between[found])
    text = (
        f"{count} of {len(by_label)} labels have thin lines of other classes between two, such as {middle} between "
        f"{low} and {high} in '{path}': resizing with interpolation makes them, and JPEG does. Make the labels anew, "
        "with nearest neighbor, as PNG."
    )
    yield Finding("interpolated", str(path), text)
