from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.choices import Resize
from edgeseg.datasets import open_split
from edgeseg.spec import ModelSpec, default_palette
from edgeseg.training.building import build_models
from edgeseg.training.config import TrainConfig
from edgeseg.training.data.augment import Augmentation
from edgeseg.training.data.pipeline import BatchOrder, training_pipeline
from edgeseg.training.distribution import Distribution
from edgeseg.training.feed import SplitFeed


@pytest.mark.parametrize(
    ("typed", "own", "expected"),
    [
        (None, "bilinear", None),  # which averages where images shrink, as bilinear alone skips pixels
        ("bilinear", "area", "bilinear"),
        (None, "bicubic-antialias", "bicubic-antialias"),
        ("nearest", "bicubic-antialias", "nearest"),
    ],
)
def test_training_images_are_scaled_as_typed_or_as_the_models_own(
    typed: Resize | None, own: Resize, expected: Resize | None, shapes_dataset: Path
) -> None:
    inputs, data = keras.Input((32, 48, 3)), open_split(shapes_dataset, "train")
    names = data.classes.names
    spec = ModelSpec(name="own", input_size=(32, 48), class_names=names, palette=default_palette(3), resize=own)
    config = TrainConfig(model="own", data=str(shapes_dataset), resize=typed)
    models = build_models(config, data.classes, model=keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs)), spec=spec)
    batches, _ = SplitFeed(config, models, data, None, Distribution()).training(4, 0)
    augmentation = Augmentation(size=(32, 48), resize=expected)
    same, _ = training_pipeline(data, models.spec, augmentation, BatchOrder(batch_size=4, seed=config.seed))
    for images, others in zip(next(iter(batches)), next(iter(same)), strict=True):
        np.testing.assert_array_equal(images, others)
