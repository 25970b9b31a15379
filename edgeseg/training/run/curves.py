"""Draw the curves of a training run as one image: loss, validation mIoU, IoU of each class and learning rate."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
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
    ("learning rate", {"learning_rate": "of the epoch's last step"}),
)
#: Prefix of the columns with the validation's IoU of each class.
_CLASS_IOU = "val_iou_"
#: Rows of a legend before it gets another column.
_LEGEND_ROWS = 8
_LINES = ("-", "--", ":", "-.")
#: Columns of the training batches that are no metric.
_NO_METRIC = ("epoch", "loss", "learning_rate", "seconds")


def save_curves(history: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draw the curves of a run, one panel for each metric that is watched; an earlier image at ``path`` is replaced.

    Args:
        history: one row for each epoch, as in ``history.csv``: ``epoch`` counted from 1, ``loss``, ``learning_rate``,
            and where there are any ``val_loss``, ``val_mean_iou`` and ``val_iou_CLASS`` in [0, 1], and metrics:
            ``NAME`` and ``val_NAME``.
            A value that is missing in a row or is not finite is omitted from its curve.
        path: a ``.png`` file.

    Raises:
        InputError: the history is empty, or the file cannot be written.
    """
    if not history:
        raise InputError("there are no curves to draw: the history has no epoch yet.")
    panels = (*_PANELS[:-1], *_class_panel(history), *_metric_panels(history), _PANELS[-1])
    figure = Figure(figsize=(8, 3 * len(panels)), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(len(panels), sharex=True), panels, strict=True):
        for number, (column, label) in enumerate(columns.items()):
            points = _points(history, column)
            if points:
                # A curve of one epoch is a point, which a line alone would not show; there are ten colors.
                style = {"marker": "o" if len(points) < 3 else None, "linestyle": _LINES[number // 10 % len(_LINES)]}
                axes.plot(*zip(*points, strict=True), label=label, **style)
                if column == "val_mean_iou":
                    _mark_best(axes, points)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        if len(columns) > 1 and axes.lines:
            axes.legend(fontsize="small", ncols=-(-len(columns) // _LEGEND_ROWS))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    write_bytes(path, png.getvalue(), overwrite=True)


def _class_panel(history: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the panel of the classes' IoU, where they were validated."""
    columns = dict.fromkeys(name for row in history for name in row if name.startswith(_CLASS_IOU))
    if columns:
        yield "validation IoU", {name: name.removeprefix(_CLASS_IOU) for name in columns}


def _metric_panels(history: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield a panel for each metric of the training batches; Keras puts an output's name before it, of several."""
    names = dict.fromkeys(name for row in history for name in row)
    validated = [name.removeprefix("val_") for name in names if name.startswith("val_")]
    for name in names:
        if name in _NO_METRIC or name.startswith("val_") or name.endswith("_loss"):
            continue
        own = max((each for each in validated if f"_{name}".endswith(f"_{each}")), key=len, default=name)
        yield own, {name: "training", f"val_{own}": "validation"}


def _points(history: Sequence[Mapping[str, float]], column: str) -> list[tuple[float, float]]:
    """Return ``(epoch, value)`` of the rows that have a finite value."""
    points = ((row["epoch"], row.get(column, math.nan)) for row in history)
    return [(epoch, value) for epoch, value in points if math.isfinite(value)]


def _mark_best(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    epoch, value = max(points, key=lambda point: point[1])
    axes.plot([epoch], [value], "o", color="black", markersize=9, fillstyle="none")
    axes.set_title(f"best mIoU {value:.4f} in epoch {epoch:g}", fontsize="medium", loc="right")
