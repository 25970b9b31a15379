from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg_converters.rewrites import rewrite
from edgeseg_converters.rewrites.base import tied_values
from edgeseg_converters.rewrites.norm_to_depthwise import NormToDepthwise


def norm(x: Any, **options: Any) -> Any:
    made = {"gamma": "random_normal", "beta": "random_normal", "moving_mean": "random_normal"}
    return layers.BatchNormalization(name="norm", **{f"{k}_initializer": v for k, v in made.items()}, **options)(x)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: norm(layers.Conv2D(4, 3, activation="relu")(x)),
        lambda x: norm(layers.Concatenate()([x, x]), scale=False),
        lambda x: norm(x, center=False),
        lambda x: (lambda y: layers.Add()([y, norm(y)]))(layers.Conv2D(3, 1)(x)),
    ],
    ids=["behind an activation", "no scale", "no offset", "the convolution is read twice"],
)
def test_what_no_convolution_takes_in(build: Callable[[Any], Any]) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 7, 3))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [NormToDepthwise()])
    assert (result.counts(), result.refused) == ((("NormToDepthwise", 1),), ())
    assert isinstance(result.model.get_layer("norm"), layers.DepthwiseConv2D)
    x = tied_values((2, 5, 7, 3))
    # One product and one sum of values near 1.
    np.testing.assert_allclose(result.model(x), model(x), atol=1e-6)


@pytest.mark.parametrize("kind", [layers.Conv2D, layers.DepthwiseConv2D])
def test_what_a_converter_folds_is_left_to_it(kind: Any) -> None:
    inputs = keras.Input((5, 7, 3))
    conv = layers.Conv2D(4, 3) if kind is layers.Conv2D else layers.DepthwiseConv2D(3)
    model = keras.Model(inputs, norm(conv(inputs)))
    result = rewrite(model, [NormToDepthwise()])
    assert (result.model is model, result.refused) == (True, ())


def test_another_axis_is_refused() -> None:
    inputs = keras.Input((5, 7, 3))
    model = keras.Model(inputs, norm(inputs, axis=1))
    result = rewrite(model, [NormToDepthwise()])
    assert result.refused[0].reason == "it normalizes axis 1, not the channels"
