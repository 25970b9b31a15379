"""Make the tables of a run from its manifest: CSV, and Parquet where pyarrow is installed; and the scores of all."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path
from edgeseg._internal.text import printable
from edgeseg.batch.manifest import records
from edgeseg.batch.record import Record, add_cells
from edgeseg.datasets import Classes
from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.evaluation.evaluate import EvaluationResult

# Rows that are in memory at once.
_ROWS = 20_000


def columns_of(classes: Sequence[str], *, scored: bool) -> tuple[str, ...]:
    """Return the columns of a table: of the image, of each class its pixels and its share, and of labels the scores."""
    counts = (f"{what} {name}" for what in ("pixels", "share") for name in classes)
    scores = ("mean_iou", "pixel_accuracy", *(f"iou {name}" for name in classes)) if scored else ()
    return ("name", "error", "height", "width", *counts, *scores)


def row_of(record: Record, num_classes: int, *, scored: bool) -> list[Any]:
    """Return the row of an image; ``None`` for what is not known."""
    height, width = record.size_hw or (None, None)
    counts: Sequence[int | None] = record.counts or [None] * num_classes
    total = sum(record.counts)
    shares = [count / total if total and count is not None else None for count in counts]
    scores = _scores(record, num_classes) if scored else []
    return [record.name, record.error, height, width, *counts, *shares, *scores]


def save_tables(manifest: Path, stem: Path, classes: Sequence[str], *, scored: bool) -> list[Path]:
    """Write ``STEM.csv``, and ``STEM.parquet`` where pyarrow is installed, with a row for each image of a manifest.

    Args:
        manifest: what is read, line by line.
        stem: the path without a suffix; files of that name are replaced.
        classes: the names of the classes that are counted.
        scored: whether the images have labels.

    Returns:
        The files.
    """
    columns = columns_of(classes, scored=scored)
    paths = [stem.with_name(f"{stem.name}.csv")]
    with atomic_path(paths[0], overwrite=True) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for record in _checked(manifest, len(classes)):
            row = row_of(record, len(classes), scored=scored)
            writer.writerow([f"{value:.6f}" if isinstance(value, float) else value for value in row])
    if find_spec("pyarrow") is not None:
        paths.append(stem.with_name(f"{stem.name}.parquet"))
        _save_parquet(manifest, paths[1], columns, len(classes), scored=scored)
    return paths


def evaluation(manifest: Path, classes: Classes) -> EvaluationResult:
    """Add up the confusion matrices of all images of a manifest: sums of integers, equal in any order.

    Args:
        manifest: of runs that evaluated.
        classes: of the data.

    Returns:
        What ``evaluate`` returns for the images that have a result.
    """
    count = len(classes.names)
    matrix = ConfusionMatrix(count, classes.ignore_index)
    nearest = ConfusionMatrix(count, classes.ignore_index)
    num_images, has_nearest = 0, False
    for record in _checked(manifest, count):
        if record.matrix is None:
            continue
        num_images += 1
        add_cells(matrix.counts, record.matrix)
        if record.nearest is not None:
            has_nearest = True
            add_cells(nearest.counts, record.nearest)
    return EvaluationResult(num_images, classes.names, matrix, nearest if has_nearest else None)


def totals(manifest: Path, num_classes: int) -> NDArray[np.int64]:
    """Return the pixels of each class in all images of a manifest, ``(C,)`` int64."""
    pixels = np.zeros(num_classes, np.int64)
    for record in _checked(manifest, num_classes):
        if record.counts:
            pixels += np.array(record.counts, np.int64)
    return pixels


def _checked(manifest: Path, num_classes: int) -> Iterator[Record]:
    """Yield the records of a manifest; refuse those of another number of classes."""
    for record in records(manifest):
        largest = max((place for place, _ in (*(record.matrix or ()), *(record.nearest or ()))), default=-1)
        if len(record.counts) not in (0, num_classes) or largest >= num_classes**2:
            name = printable(record.name)
            raise InputError(f"'{manifest}' has a result of '{name}' that is not of {num_classes} classes.")
        yield record


def _scores(record: Record, num_classes: int) -> list[float | None]:
    matrix = ConfusionMatrix(num_classes)
    add_cells(matrix.counts, record.matrix or ())
    scores = [matrix.mean_iou, matrix.pixel_accuracy, *matrix.per_class_iou.tolist()]
    return [None if math.isnan(score) else score for score in scores]


def _save_parquet(manifest: Path, path: Path, columns: Sequence[str], num_classes: int, *, scored: bool) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    def kind(column: str) -> Any:
        if column in ("name", "error"):
            return pa.string()
        return pa.int64() if column in ("height", "width") or column.startswith("pixels ") else pa.float64()

    schema = pa.schema([(column, kind(column)) for column in columns])
    rows = (row_of(record, num_classes, scored=scored) for record in _checked(manifest, num_classes))
    with atomic_path(path, overwrite=True) as temporary, ParquetWriter(temporary, schema) as writer:
        while some := list(islice(rows, _ROWS)):
            values = dict(zip(columns, map(list, zip(*some, strict=True)), strict=True))
            writer.write_table(pa.table(values, schema=schema))
