"""``edgeseg.training.run.validation``: the scores of an epoch are those of ``edgeseg evaluate`` on its file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.training.config import TrainConfig
from edgeseg.training.fit import train
from edgeseg.training.run.options import RunOptions


@pytest.fixture
def of_many_sizes(shapes_dataset: Path, tmp_path: Path) -> Path:
    """The shapes with validation images of other sizes and shapes, and an ignored id below 255."""
    root = Path(shutil.copytree(shapes_dataset, tmp_path / "data"))
    classes = json.loads((root / "classes.json").read_text())
    (root / "classes.json").write_text(json.dumps(classes | {"ignore_index": 7}))
    for path in root.glob("*/labels/*.png"):
        label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), np.where(label == 255, 7, label).astype(np.uint8))
    for index, size_wh in enumerate([(41, 97), (200, 60), (33, 33)]):
        for folder in ("images", "labels"):
            path = str(root / "val" / folder / f"{index:02d}.png")
            resized = cv2.resize(cv2.imread(path, cv2.IMREAD_UNCHANGED), size_wh, interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(path, resized)
    return root


@pytest.mark.parametrize("channels", [3, 1])
def test_the_scores_are_those_of_evaluate(
    of_many_sizes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], channels: int
) -> None:
    """Also of a model whose map has half the input's size, and of one channel; in batches of which the last is smaller.

    The pixels are counted, so the scores are equal but for a pixel whose two best classes are a rounding apart; there
    is none here. A watched metric of the same name does not take the column.
    """
    if channels == 1:
        names = {"names": ["wall", "thing"], "ignore_index": 7}
        (of_many_sizes / "classes.json").write_text(json.dumps(names))
        for path in of_many_sizes.glob("*/labels/*.png"):
            label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(path), np.where(label == 2, 1, label).astype(np.uint8))
    keras.utils.set_random_seed(0)
    half = keras.Sequential([keras.Input((32, 48, 3)), keras.layers.Conv2D(channels, 3, strides=2, padding="same")])
    config = TrainConfig(model="half", data=str(of_many_sizes), epochs=2, batch_size=3, learning_rate=0.02)
    options = RunOptions(samples=0, metrics=["mean-iou"], log=lambda text: None)
    result = train(config, tmp_path / "run", options, model=half)
    best = result.history[result.best_epoch - 1]
    capsys.readouterr()
    assert main(["evaluate", str(result.best), "--data", str(of_many_sizes), "--split", "val", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert result.best_mean_iou == best["val_mean_iou"] == pytest.approx(scores["mean_iou"], abs=1e-6)
    assert best["val_pixel_accuracy"] == pytest.approx(scores["pixel_accuracy"], abs=1e-6)
    for name, iou in scores["per_class_iou"].items():
        assert best[f"val_iou_{name}"] == pytest.approx(np.nan if iou is None else iou, abs=1e-6, nan_ok=True)
