"""Convolutions that are not quite what the rules look for."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg_converters.rewrites import RewriteResult, rewrite, rules_for
from edgeseg_converters.rewrites.base import tied_values
from edgeseg_converters.rewrites.pointwise_before_resize import PointwiseBeforeResize
from edgeseg_converters.rewrites.upsample_conv_phases import UpsampleConvToPhases
from edgeseg_converters.rewrites.winograd import ConvToWinograd

RULES = (PointwiseBeforeResize(), UpsampleConvToPhases(min_channels=4), ConvToWinograd(min_channels=4, min_products=1))


def rewritten(model: keras.Model, atol: float) -> RewriteResult:
    """By rules for all three sites of ``RULES``, none of which failed, and the same as before."""
    result = rewrite(model, [*RULES, *rules_for("tflite", "xnnpack").in_order(optimize=True)])
    assert not [refused for refused in result.refused if "failed" in refused.reason]
    x = tied_values((2, *model.input_shape[1:]))
    for new, old in zip(*(keras.tree.flatten(m(x)) for m in (result.model, model)), strict=True):
        np.testing.assert_allclose(new, old, atol=atol)
    return result


def three_places(x: Any, **options: Any) -> list[Any]:
    """A 1x1 convolution and a 3x3 one on upsampled maps, and a 3x3 one: what ``RULES`` look for."""
    options = {"padding": "same", **options}
    return [
        layers.Conv2D(4, 1, name="small", **options)(layers.UpSampling2D(2)(x)),
        layers.Conv2D(4, 3, name="phases", **options)(layers.UpSampling2D(2)(x)),
        layers.Conv2D(4, 3, name="winograd", **options)(layers.ReLU()(x)),
    ]


def test_a_normalization_of_rows_is_not_folded() -> None:
    """Its scale has one number for each row, not one for each filter."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 8, 4))
    norms = [
        layers.BatchNormalization(axis=1, gamma_initializer="random_normal", moving_mean_initializer="random_normal")(y)
        for y in three_places(inputs)
    ]
    # 36 products of values near 1, with transforms that sum up to 10 times as much and cancel.
    result = rewritten(keras.Model(inputs, norms), atol=1e-5)
    assert {(rule.name, 1) for rule in RULES} <= set(result.counts())
    assert sum(isinstance(layer, layers.BatchNormalization) for layer in result.model.layers) == 3


def test_what_lora_has_learned_is_in_the_new_kernel() -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 8, 4))
    model = keras.Model(inputs, three_places(inputs, use_bias=False))
    for name in ("small", "phases", "winograd"):
        model.get_layer(name).enable_lora(2, b_initializer="glorot_uniform")
    result = rewritten(model, atol=1e-5)  # as above
    assert {(rule.name, 1) for rule in RULES} <= set(result.counts())


class Conv2D(layers.Layer):  # type: ignore[misc]
    """A user's own, with other attributes than Keras'."""

    def call(self, x: Any) -> Any:
        return x * 2


class UpSampling2D(Conv2D):
    pass


class Concatenate(Conv2D):
    pass


class BatchNormalization(Conv2D):
    pass


class Add(Conv2D):
    pass


def test_a_users_class_with_the_name_of_one_of_keras_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    inputs = x = keras.Input((4, 8, 4))
    for kind in (Conv2D, UpSampling2D, Concatenate, layers.ZeroPadding2D, Conv2D, BatchNormalization, Add):
        x = kind()(x)
    model = keras.Model(inputs, x)
    result = rewritten(model, atol=0)
    assert (result.model is model, result.refused, caplog.text) == (True, (), "")
