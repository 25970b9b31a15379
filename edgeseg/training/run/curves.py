"""Draw the curves of a training run as one image: loss, validation mIoU and learning rate over the epochs."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

# Not pyplot: a Figure of its own opens no window and does not touch the user's settings and figures.
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgeseg._internal.files import write_bytes
from edgeseg.errors import InputError

#: Title of a panel, and its columns of the history with their labels.
_PANELS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("loss", {"loss": "training", "val_loss": "validation"}),
    ("validation mIoU", {"val_mean_iou": "mIoU"}),
    ("learning rate", {"learning_rate": "at the end of the epoch"}),
)


def save_curves(history: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draw the curves of a run; an earlier image at ``path`` is replaced atomically.

    Args:
        history: one row for each epoch, as in ``history.csv``: ``epoch`` counted from 1, ``loss``, ``learning_rate``,
            and where there are any ``val_loss`` and ``val_mean_iou`` in [0, 1]. A value that is missing in a row or
            is not finite is omitted from its curve.
        path: a ``.png`` file.

    Raises:
        InputError: the history is empty, or the file cannot be written.
    """
    if not history:
        raise InputError("there are no curves to draw: the history has no epoch yet.")
    figure = Figure(figsize=(8, 9), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(len(_PANELS), sharex=True), _PANELS, strict=True):
        for column, label in columns.items():
            points = _points(history, column)
            if points:
                # A curve of one epoch is a point, which a line alone would not show.
                axes.plot(*zip(*points, strict=True), label=label, marker="o" if len(points) < 3 else None)
                if column == "val_mean_iou":
                    _mark_best(axes, points)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        if len(columns) > 1 and axes.lines:
            axes.legend()
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    write_bytes(path, png.getvalue(), overwrite=True)


def _points(history: Sequence[Mapping[str, float]], column: str) -> list[tuple[float, float]]:
    """Return ``(epoch, value)`` of the rows that have a finite value."""
    points = ((row["epoch"], row.get(column, math.nan)) for row in history)
    return [(epoch, value) for epoch, value in points if math.isfinite(value)]


def _mark_best(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    epoch, value = max(points, key=lambda point: point[1])
    axes.plot([epoch], [value], "o", color="black", markersize=9, fillstyle="none")
    axes.set_title(f"best mIoU {value:.4f} in epoch {epoch:g}", fontsize="medium", loc="right")
