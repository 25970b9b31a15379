from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import DataSource, open_split
from edgeseg.datasets.splitting import split
from edgeseg.datasets.training_splits import splits_of_training, training_splits
from edgeseg.errors import InputError


@pytest.fixture
def alone(copy: Path) -> Path:
    """Only training images, and a test that nobody touches."""
    shutil.rmtree(copy / "val")
    return copy


def test_a_share_of_train_is_what_data_split_takes(alone: Path, tmp_path: Path) -> None:
    train, val = training_splits(alone, val_fraction=0.3)
    assert val is not None
    assert (len(train), len(val)) == (7, 3)
    split(alone, tmp_path / "lists", val=0.3)
    for part, name in ((train, "train"), (val, "val")):
        lists = [image.name for image, _ in open_split(tmp_path / "lists", name).pairs]
        assert [image.name for image, _ in part.pairs] == lists


def test_without_validation_all_of_train_is_learned_from(alone: Path, shapes_dataset: Path) -> None:
    for data in (alone, shapes_dataset):
        train, val = training_splits(data, validate=False)
        assert (len(train), val) == (10, None)
        assert splits_of_training(data, validate=False) == ("train",)
    train, val = training_splits(shapes_dataset)
    assert val is not None
    assert (len(train), len(val)) == (10, 4)


def test_data_that_is_not_split_or_has_trainval_alone_will_do(
    gray: Callable[..., Path], voc_dataset: Path, tmp_path: Path
) -> None:
    source = DataSource(root=str(gray(*(np.zeros((4, 6), np.uint8) for _ in range(5)))), classes="a,b")
    train, val = training_splits(source, val_fraction=0.2)
    assert val is not None
    assert (len(train), len(val)) == (4, 1)
    voc = Path(shutil.copytree(voc_dataset, tmp_path / "voc"))
    for name in ("train", "val"):
        (voc / "VOCdevkit" / "VOC2007" / "ImageSets" / "Segmentation" / f"{name}.txt").unlink()
    source = DataSource(root=str(voc), classes="wall,red,blue")
    assert splits_of_training(source, validate=False) == ("trainval",)
    assert len(training_splits(source, validate=False)[0]) == 6


def test_what_cannot_be_validated_on_says_what_to_type(alone: Path, shapes_dataset: Path) -> None:
    with pytest.raises(
        InputError, match=r"has train and no val: give `val_fraction=0\.1` .* `validate=False` .* data split"
    ):
        training_splits(alone)
    with pytest.raises(InputError, match="has a val split; `val_fraction` is for data without one"):
        training_splits(shapes_dataset, val_fraction=0.1)
    with pytest.raises(InputError, match=r"val 0\.99 and test .* of 10 pairs"):
        training_splits(alone, val_fraction=0.99)
