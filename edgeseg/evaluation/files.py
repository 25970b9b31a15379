"""Write the files of ``edgeseg evaluate --save``: the confusion matrix as CSV and as an image, and the class scores.

matplotlib draws the image: the charts of the benchmark page are SVG that depends on the page's style sheet, while a
PNG of its own needs axes with slanted names in any script, which OpenCV's letters lack.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import csv_text, refuse_existing, require_writable_folder, write_bytes, write_text
from edgeseg._internal.text import printable
from edgeseg.errors import missing_extra
from edgeseg.evaluation.evaluate import EvaluationResult

#: The files.
NAMES = ("confusion_matrix.csv", "confusion_matrix.png", "per_class.csv")

# With more classes than this the cells are too small for numbers.
_MOST_NUMBERS = 24


def require_room(folder: Path, *, overwrite: bool) -> None:
    """Refuse before the long work what ``save_evaluation`` would refuse after it.

    Raises:
        BackendUnavailable: matplotlib is not installed.
        InputError: a file exists and ``overwrite`` is false, or the folder cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise missing_extra("edgeseg evaluate --save", "charts")
    for name in NAMES:
        refuse_existing(folder / name, overwrite=overwrite)
    require_writable_folder(folder)


def save_evaluation(
    result: EvaluationResult, folder: str | Path, *, title: str = "", overwrite: bool = False
) -> tuple[Path, ...]:
    """Write ``confusion_matrix.csv``, ``confusion_matrix.png`` and ``per_class.csv``.

    The matrix has a row for each class of the labels and a column for each of the predictions; pixels in the CSV,
    shares of the row in the image. A score that is not defined is an empty cell.

    Args:
        result: the scores.
        folder: created where it is missing.
        title: shown above the image.
        overwrite: whether files of that name may be replaced.

    Returns:
        The paths, in that order.

    Raises:
        BackendUnavailable: matplotlib is not installed.
        InputError: a file exists and ``overwrite`` is false, or the folder cannot be written.
    """
    folder = Path(folder)
    require_room(folder, overwrite=overwrite)
    names, counts = result.class_names, result.matrix.counts
    matrix = [
        ["label \\ prediction", *names],
        *([name, *row] for name, row in zip(names, counts.tolist(), strict=True)),
    ]
    per_class = result.per_class
    table: list[Sequence[Any]] = [["class", *per_class, "label_pixels", "predicted_pixels"]]
    for name, labeled, predicted in zip(names, counts.sum(1).tolist(), counts.sum(0).tolist(), strict=True):
        scores = [scores[name] for scores in per_class.values()]
        table.append([name, *("" if math.isnan(s) else f"{s:.6f}" for s in scores), labeled, predicted])
    image = _image(counts, [printable(name) for name in names], printable(title))
    paths = tuple(folder / name for name in NAMES)
    write_text(paths[0], csv_text(matrix), overwrite=overwrite)
    write_bytes(paths[1], image, overwrite=overwrite)
    write_text(paths[2], csv_text(table), overwrite=overwrite)
    return paths


def _image(counts: NDArray[np.int64], names: Sequence[str], title: str) -> bytes:
    """Draw the matrix as a PNG, each row in shares of its label's pixels; a row without pixels is gray."""
    from matplotlib.figure import Figure  # not pyplot, so that the user's own figures are not touched

    labeled = counts.sum(1, keepdims=True)
    shares = np.ma.masked_array(counts / np.maximum(labeled, 1), np.broadcast_to(labeled == 0, counts.shape))
    numbered = len(names) <= _MOST_NUMBERS
    side = 3 + len(names) * (0.5 if numbered else 0.17)  # inches
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("lightgrey")
    cells = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(cells, ax=axes, label="share of the label's pixels", shrink=0.8)
    places, size = range(len(names)), 9 if numbered else 6
    literal = [name.replace("$", r"\$") for name in names]  # text between two dollar signs would be a formula
    axes.set_xticks(places, literal, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(places, literal, fontsize=size)
    axes.set(xlabel="prediction", ylabel="label")
    axes.set_title(title.replace("$", r"\$"), fontsize="medium", wrap=True)
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(shares)), strict=True) if numbered else ():
        share = float(shares[row, column])
        # A cell of less than half a percent stays empty, or the zeros would hide the errors.
        if share >= 0.005:
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=color, fontsize=8)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    return image.getvalue()
