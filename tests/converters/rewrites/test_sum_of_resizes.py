"""``shared.resizes``: a convolution over resized maps, as a sum of resizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models import create
from edgeseg.models.layers import ResizeBilinear
from edgeseg.models.zoo.hrnet import hrnetv2
from edgeseg_converters.rewrites import ResizeBilinearToFixedSize, UpsampleLikeToNearestResize, rewrite
from edgeseg_converters.rewrites.base import tied_values
from edgeseg_converters.rewrites.shared.lowered import NearestResize
from edgeseg_converters.rewrites.sum_of_resizes import ConcatOfResizesToSum

RULE = ConcatOfResizesToSum()


def at(x: Any, factor: int, channels: int) -> Any:
    """A smaller map."""
    return layers.Conv2D(channels, 1)(layers.AveragePooling2D(factor)(x) if factor > 1 else x)


def project(maps: list[Any], filters: int = 5, **options: Any) -> Any:
    joined = layers.Dropout(0.5)(layers.Concatenate()(maps))
    x = layers.Conv2D(filters, 1, bias_initializer="random_normal", name="conv", **options)(joined)
    norm = layers.BatchNormalization(beta_initializer="random_normal", moving_mean_initializer="random_normal")
    return x if options else norm(x)


def hrnet(x: Any) -> Any:
    return project([at(x, 1, 2), *(NearestResize((12, 24))(at(x, factor, 3)) for factor in (2, 4, 6))])


def pooled(x: Any) -> Any:
    pool = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return project([ResizeBilinear((12, 24))(pool), at(x, 1, 2), at(x, 1, 2)], activation="relu")


def bilinear(x: Any) -> Any:
    small = [layers.UpSampling2D(2, interpolation="bilinear")(at(x, 2, 3)) for _ in range(2)]
    return project([small[0], at(x, 1, 2), small[1], ResizeBilinear((12, 24))(at(x, 4, 2))])


def nothing_else(x: Any) -> Any:
    return project([layers.UpSampling2D(2)(at(x, 2, 3)), layers.UpSampling2D(4)(at(x, 4, 3))])


@pytest.mark.parametrize(
    ("build", "convolutions"),
    [(hrnet, 4), (pooled, 2), (bilinear, 3), (nothing_else, 2)],
    ids=["hrnet", "pooled", "bilinear", "nothing else"],
)
def test_the_same_to_rounding(build: Callable[[Any], Any], convolutions: int) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 24, 3))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [RULE])
    assert (result.counts(), result.refused) == ((("ConcatOfResizesToSum", 1),), ())
    names = [operation.name for operation in result.model.operations]
    assert sum(name.startswith("conv_part") for name in names) == convolutions
    assert "conv" in names
    x = tied_values((2, 12, 24, 3))
    # A dozen products of values near 1 in another order.
    np.testing.assert_allclose(result.model(x), model(x), atol=1e-5)


def test_repeated_pixels_are_added_at_the_smaller_sizes() -> None:
    inputs = keras.Input((12, 24, 3))
    model = rewrite(keras.Model(inputs, hrnet(inputs)), [RULE]).model
    sizes = [operation.size for operation in model.operations if isinstance(operation, NearestResize)]
    # 12/6 = 2 rows do not divide 3 = 12/4 rows, so that map goes to the full size on its own.
    assert sorted(sizes) == [(6, 12), (12, 24), (12, 24)]


@pytest.mark.parametrize("name", [pytest.param("hrnetv2", marks=pytest.mark.slow), "deeplabv3plus_mobilenetv2"])
def test_in_the_zoo(name: str) -> None:
    if name == "hrnetv2":  # with the fewest layers
        model = hrnetv2(num_classes=3, input_size=(64, 64), width=4, modules=(1, 1), blocks=1)
    else:
        model = create(name, num_classes=3, input_size=(64, 64))
    result = rewrite(model, [UpsampleLikeToNearestResize(), ResizeBilinearToFixedSize(), RULE])
    assert dict(result.counts())["ConcatOfResizesToSum"] == 1
    x = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    logits = model.predict_on_batch(x)
    np.testing.assert_allclose(result.model.predict_on_batch(x), logits, atol=1e-4 * np.abs(logits).max())


def twice(x: Any) -> Any:
    up = layers.UpSampling2D(2)(at(x, 2, 3))
    return project([up, up])


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (twice, "joins the same map twice"),
        (
            lambda x: project([x, layers.UpSampling2D(2)(at(x, 2, 1))]),
            "1 resized channels go to 5; below a share of 0.5 nothing is gained",
        ),
        (
            lambda x: project([NearestResize((12, 24))(layers.GlobalAveragePooling2D(keepdims=True)(x))]),
            "it joins maps of one pixel only",
        ),
    ],
    ids=["twice", "few channels", "one pixel"],
)
def test_refused_with_a_sentence(build: Callable[[Any], Any], reason: str) -> None:
    inputs = keras.Input((12, 24, 3))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [RULE])
    assert result.model is model
    assert reason in result.refused[0].reason


def test_a_map_that_something_else_reads_stays_in_the_concatenation() -> None:
    inputs = keras.Input((12, 24, 3))
    up = layers.UpSampling2D(2)(at(inputs, 2, 3))
    model = keras.Model(inputs, layers.Add()([project([inputs, up]), layers.Conv2D(5, 3, padding="same")(up)]))
    assert rewrite(model, [RULE]).model is model
