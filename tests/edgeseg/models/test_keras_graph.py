"""What a layer says of how it is called."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from edgeseg.models.keras_graph import takes_training
from edgeseg.models.keras_internals import maker_of


def test_what_can_be_told_to_run_in_inference_mode() -> None:
    assert takes_training(layers.Dropout(0.5)) and takes_training(layers.BatchNormalization())
    assert not takes_training(layers.ReLU())


def test_an_operation_has_no_training_mode() -> None:
    operation = maker_of(keras.Input((4,)) + 1.0)
    assert not isinstance(operation, keras.Layer)
    assert not takes_training(operation)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dropout(0.5),
        layers.Dense(2),
        layers.ReLU(),
        layers.Resizing(4, 4),
        keras.Sequential([keras.Input((4,)), layers.Dropout(0.5)]),
        keras.Sequential([layers.Dropout(0.5)]),
        keras.Model(image := keras.Input((4,)), layers.Dense(2)(image)),
        keras.Model(),
    ],
)
def test_it_is_what_keras_itself_passes_training_to(layer: keras.Layer) -> None:
    assert takes_training(layer) == layer._call_has_training_arg
