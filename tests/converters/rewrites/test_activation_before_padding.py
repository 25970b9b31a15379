from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

from edgeseg_converters.rewrites import rewrite
from edgeseg_converters.rewrites.activation_before_padding import ActivationBeforePadding


def padded(activation: Any) -> keras.Model:
    inputs = keras.Input((4, 6, 3))
    return keras.Model(inputs, activation(layers.ZeroPadding2D(((1, 2), (0, 1)), name="border")(inputs)))


@pytest.mark.parametrize(
    "activation",
    [layers.ReLU(6.0), layers.LeakyReLU(), layers.Activation("silu"), layers.Activation("tanh")],
    ids=lambda layer: layer.name,
)
def test_the_activation_sees_the_map_without_its_border(assert_replaced: Any, activation: Any) -> None:
    result = assert_replaced(padded(activation), ActivationBeforePadding(), 1, [])
    assert result.model.layers[-1].name == "border"
    assert result.model.get_layer(activation.name).output.shape == (None, 4, 6, 3)


def test_an_activation_that_changes_zero_is_refused() -> None:
    model = padded(layers.Activation("sigmoid", name="gate"))
    result = rewrite(model, [ActivationBeforePadding()])
    assert result.model is model
    assert result.refused[0].reason == "'gate' turns the border's 0 into 0.5"


def test_a_border_that_something_else_reads_stays() -> None:
    inputs = keras.Input((4, 6, 3))
    border = layers.ZeroPadding2D(1)(inputs)
    model = keras.Model(inputs, layers.Add()([border, layers.ReLU()(border)]))
    assert rewrite(model, [ActivationBeforePadding()]).model is model
