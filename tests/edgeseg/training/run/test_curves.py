from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot

from edgeseg.errors import InputError
from edgeseg.imaging import read_image
from edgeseg.training.run.curves import save_curves

HISTORY = [
    {"epoch": 1, "loss": 1.5, "val_loss": 1.4, "val_mean_iou": 0.2, "learning_rate": 1e-3},
    {"epoch": 2, "loss": 0.9, "val_loss": 1.0, "val_mean_iou": 0.5, "learning_rate": 1e-4},
]


def inked(path: Path) -> list[int]:
    """Pixels that are colored, thus of a curve, in the middle of each of the three panels, from above."""
    image = read_image(path).astype(int)
    colored = image.max(-1) - image.min(-1) > 60
    return [int(part.sum()) for part in np.array_split(colored, 9)[1::3]]


def test_each_panel_has_its_curve(tmp_path: Path) -> None:
    save_curves(HISTORY, tmp_path / "curves.png")
    assert min(inked(tmp_path / "curves.png")) > 100


def test_the_classes_have_a_panel_with_a_curve_each(tmp_path: Path) -> None:
    rows = [{**row, "val_iou_road": 0.2 * row["epoch"], "val_iou_sky": 0.9} for row in HISTORY]
    save_curves(rows, tmp_path / "curves.png")
    image = read_image(tmp_path / "curves.png").astype(int)
    panel = np.array_split(image, 4)[2]
    # Matplotlib's first two colors: the lines, and the same in the legend.
    for color in ((31, 119, 180), (255, 127, 14)):
        assert (np.abs(panel - color).max(-1) < 20).sum() > 100
    save_curves([{**rows[0], **{f"val_iou_{index}": 0.01 * index for index in range(25)}}], tmp_path / "many.png")
    assert read_image(tmp_path / "many.png").shape == image.shape


def test_an_epoch_without_validation_and_a_nan_are_left_out(tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if not key.startswith("val_")} for row in HISTORY]
    save_curves([*rows, {**rows[1], "epoch": 3, "val_mean_iou": math.nan}], tmp_path / "curves.png")
    loss, mean_iou, learning_rate = inked(tmp_path / "curves.png")
    assert mean_iou == 0
    assert min(loss, learning_rate) > 100


def test_one_epoch_is_a_point_and_the_next_image_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    save_curves(HISTORY[:1], path)
    one = path.read_bytes()
    assert min(inked(path)[1:]) > 10  # the two losses lie at the edges of their panel
    save_curves(HISTORY, path)
    assert path.read_bytes() != one
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_no_figure_is_left_in_memory(tmp_path: Path) -> None:
    """Pyplot keeps a figure until it is closed: one more with each epoch."""
    before = pyplot.get_fignums()
    save_curves(HISTORY, tmp_path / "curves.png")
    assert pyplot.get_fignums() == before


def test_no_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no epoch yet"):
        save_curves([], tmp_path / "curves.png")


def test_a_metric_that_is_watched_has_a_panel(tmp_path: Path) -> None:
    """With its name for the training batches, before which Keras puts an output's, and for the validation."""
    heights = []
    for metrics in (
        {"f_score": 0.5, "val_f_score": 0.4},
        {"main_f_score": 0.5, "half_pixel_accuracy": 0.9, "val_f_score": 0.4, "val_iou_road": 0.1, "half_loss": 1.0},
        {"mean_iou": 0.3},
    ):
        save_curves([{**row, **metrics} for row in HISTORY], tmp_path / "curves.png")
        heights.append(read_image(tmp_path / "curves.png").shape[0] // 300)
    assert heights == [4, 6, 4]
