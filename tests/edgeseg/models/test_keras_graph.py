"""What a layer says of how it is called, and a model without what its class adds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models.keras_graph import plain, takes_training
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


class Doubled(keras.Model):  # type: ignore[misc]
    """Its ``predict`` does more than the graph, as that of a task of KerasHub."""

    def predict_on_batch(self, x: Any) -> Any:
        return super().predict_on_batch(2 * x)


def test_a_plain_model_computes_the_graph_and_no_more() -> None:
    image = keras.Input((2,))
    model = Doubled(image, layers.Dense(2)(image))
    ones = np.ones((1, 2), np.float32)
    expected = keras.ops.convert_to_numpy(model(ones))
    assert not np.allclose(model.predict_on_batch(ones), expected)
    own = plain(model)
    assert np.allclose(own.predict_on_batch(ones), expected, rtol=1e-6)  # a compiled sum and an eager one
    assert own.layers[-1] is model.layers[-1]
    assert plain(own) is own
    subclassed = type("Subclassed", (keras.Model,), {})()
    assert plain(subclassed) is subclassed
