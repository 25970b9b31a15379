"""``edgeseg_converters.rewrites.upsample_conv_differences`` and ``edgeseg_converters.rewrites.upsample_conv_phases``:
convolutions of upsampled maps, computed on the small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models import create
from edgeseg_converters.rewrites import rewrite, rules_for
from edgeseg_converters.rewrites.base import tied_values
from edgeseg_converters.rewrites.shared.upsample_conv import UpsampleConv
from edgeseg_converters.rewrites.upsample_conv_differences import UpsampleConvToDifferences
from edgeseg_converters.rewrites.upsample_conv_phases import UpsampleConvToPhases

RULES = (UpsampleConvToPhases(min_channels=4), UpsampleConvToDifferences(min_channels=4))


def up_conv(x: Any, **options: Any) -> Any:
    return layers.Conv2D(6, 3, padding="same", name="conv", **options)(layers.UpSampling2D(2)(x))


def with_border(x: Any) -> Any:
    return layers.Conv2D(6, 3, activation="relu", name="conv")(layers.ZeroPadding2D(1)(layers.UpSampling2D(2)(x)))


def with_skip(x: Any, first: bool = True) -> Any:
    skip = layers.Conv2DTranspose(3, 2, strides=2)(x)
    sides = [layers.UpSampling2D(2)(x), skip]
    joined = layers.Concatenate()(sides if first else [skip, sides[0], skip])
    return layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(joined)


def with_norm(x: Any) -> Any:
    norm = layers.BatchNormalization(
        beta_initializer="random_normal", gamma_initializer="random_normal", moving_mean_initializer="random_normal"
    )
    return norm(up_conv(x, bias_initializer="random_normal"))


@pytest.mark.parametrize(
    "build",
    [
        up_conv,
        lambda x: up_conv(x, use_bias=False, activation="relu"),
        with_border,
        with_skip,
        lambda x: with_skip(x, first=False),
        with_norm,
    ],
    ids=["plain", "relu, no bias", "border", "skip behind", "skips around", "normalized"],
)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_same_to_rounding(rule: UpsampleConv, build: Callable[[Any], Any]) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 7, 4))
    model = keras.Model(inputs, layers.ReLU()(build(inputs)))
    result = rewrite(model, [rule])
    assert (result.counts(), result.refused) == (((rule.name, 1),), ())
    kinds = [type(operation).__name__ for operation in result.model.operations]
    assert not {"UpSampling2D", "BatchNormalization"} & set(kinds)
    assert "conv" in [operation.name for operation in result.model.operations]
    x = tied_values((2, 5, 7, 4))
    # 36 products of values near 1 in another order.
    np.testing.assert_allclose(result.model(x), model(x), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("unet_mini", 2),
        pytest.param("mobilenet_unet", 4, marks=pytest.mark.slow),
        pytest.param("resnet50_segnet", 3, marks=pytest.mark.slow),
    ],
)
def test_in_the_zoo(name: str, count: int) -> None:
    model = create(name, num_classes=3, input_size=(64, 64))
    for file_format in ("onnx", "tflite"):
        rules = [rule for rule in rules_for(file_format).speed_ups if isinstance(rule, UpsampleConv)]
        result = rewrite(model, rules)
        assert result.counts() == (("UpsampleConvToDifferences", count),)
    x = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    logits = np.asarray(model(x, training=False))
    np.testing.assert_allclose(result.model(x, training=False), logits, atol=1e-4 * np.abs(logits).max())


def shared(x: Any) -> Any:
    conv = layers.Conv2D(4, 3, padding="same", name="conv")
    return conv(layers.UpSampling2D(2)(conv(x)))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (shared, "one of its layers is used in another place as well"),
        (lambda x: up_conv(x[..., :3]), "it upsamples 3 channels; with fewer than 4 nothing is gained"),
        (lambda x: up_conv(x, dilation_rate=2), "'conv' is no plain 3x3 convolution of stride 1"),
        (lambda x: layers.Conv2D(4, 3, name="conv")(layers.UpSampling2D(2)(x)), "'conv' does not keep the size"),
        (lambda x: layers.Conv2D(4, 3, padding="same")(layers.UpSampling2D(4)(x)), r"it upsamples by (4, 4)"),
    ],
    ids=["shared", "few channels", "dilated", "valid", "x4"],
)
def test_refused_with_a_sentence(build: Callable[[Any], Any], reason: str) -> None:
    inputs = keras.Input((6, 8, 4))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, RULES[:1])
    assert result.model is model
    assert reason in result.refused[0].reason


def test_an_upsampled_map_that_something_else_reads_is_left_alone() -> None:
    inputs = keras.Input((6, 8, 4))
    up = layers.UpSampling2D(2)(inputs)
    model = keras.Model(inputs, layers.Add()([up, layers.Conv2D(4, 3, padding="same")(up)]))
    assert rewrite(model, RULES[:1]).model is model
