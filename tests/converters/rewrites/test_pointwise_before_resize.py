from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models.layers import MaxPoolingWithArgmax2D, ResizeBilinear
from edgeseg_converters.rewrites import rewrite
from edgeseg_converters.rewrites.base import tied_values
from edgeseg_converters.rewrites.pointwise_before_resize import PointwiseBeforeResize
from edgeseg_converters.rewrites.shared.lowered import NearestResize

RULE = PointwiseBeforeResize()


def conv(x: Any, filters: int = 3, **options: Any) -> Any:
    return layers.Conv2D(filters, 1, bias_initializer="random_normal", name="conv", **options)(x)


def with_dropout_and_norm(x: Any) -> Any:
    norm = layers.BatchNormalization(beta_initializer="random_normal", moving_mean_initializer="random_normal")
    return norm(conv(layers.Dropout(0.5)(layers.UpSampling2D(4, interpolation="bilinear")(x))))


@pytest.mark.parametrize(
    ("build", "last"),
    [
        (lambda x: conv(ResizeBilinear((17, 23))(x)), "ResizeBilinear"),
        (lambda x: conv(ResizeBilinear((17, 23), align_corners=False)(x), filters=9), "ResizeBilinear"),
        (lambda x: conv(layers.Resizing(9, 14, "nearest")(x), activation="relu"), "Resizing"),
        (lambda x: conv(NearestResize((9, 13))(x), activation="softmax"), "NearestResize"),
        (lambda x: conv(layers.UpSampling2D(2, interpolation="bilinear")(x), activation="relu"), "Activation"),
        (with_dropout_and_norm, "UpSampling2D"),
    ],
    ids=["corners", "half pixel, wider", "nearest, relu", "floor, softmax", "bilinear, relu", "dropout, norm"],
)
def test_the_convolution_runs_on_the_small_map(build: Callable[[Any], Any], last: str) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 7, 4))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [RULE])
    assert (result.counts(), result.refused) == ((("PointwiseBeforeResize", 1),), ())
    assert result.model.get_layer("conv_small").output.shape[1:3] == (5, 7)
    assert type(result.model.get_layer("conv")).__name__ == last
    x = tied_values((2, 5, 7, 4))
    # Four products of values near 1, mixed in another order.
    np.testing.assert_allclose(result.model(x), model(x), atol=1e-6)


def shared(x: Any) -> Any:
    layer = layers.Conv2D(4, 1, name="conv")
    return layer(layers.UpSampling2D(2)(layer(x)))


def test_a_convolution_with_another_place_is_refused() -> None:
    inputs = keras.Input((5, 7, 4))
    model = keras.Model(inputs, shared(inputs))
    result = rewrite(model, [RULE])
    assert result.model is model
    assert result.refused[0].reason == "one of its layers is used in another place as well"


@pytest.mark.parametrize(
    "build",
    [
        lambda x: layers.Conv2D(4, 3)(layers.UpSampling2D(2)(x)),
        lambda x: layers.Conv2D(4, 1, strides=2)(layers.UpSampling2D(2)(x)),
        lambda x: conv(layers.Resizing(3, 3)(x)),
        lambda x: conv(layers.Resizing(10, 10, antialias=True)(x)),
        lambda x: conv(layers.Resizing(10, 10, "bicubic")(x)),
        lambda x: conv(layers.ReLU()(layers.UpSampling2D(2)(x))),
        lambda x: conv(MaxPoolingWithArgmax2D()(x)[0]),
    ],
    ids=["3x3", "strided", "smaller", "antialiased", "bicubic", "activation between", "two outputs"],
)
def test_other_patterns_are_left_alone(build: Callable[[Any], Any]) -> None:
    inputs = keras.Input((5, 7, 4))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [RULE])
    assert (result.model is model, result.refused) == (True, ())
