"""``shared.winograd_transforms``: 3x3 convolutions as Winograd has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import Precision
from edgeseg.coverage import coverage
from edgeseg.models import create
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg_converters import export
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.rewrites import rewrite, rules_for
from edgeseg_converters.rewrites.base import tied_values
from edgeseg_converters.rewrites.winograd import ConvToWinograd

RULE = ConvToWinograd(min_channels=4, min_products=1)


def conv(x: Any, **options: Any) -> Any:
    return layers.Conv2D(6, 3, name="conv", **{"padding": "same", "bias_initializer": "random_normal", **options})(x)


def with_border(x: Any) -> Any:
    return conv(layers.ZeroPadding2D(1)(x), padding="valid", activation="relu")


def normalized(x: Any, last: layers.Layer | None = None) -> Any:
    norm = layers.BatchNormalization(
        beta_initializer="random_normal", gamma_initializer="random_normal", moving_mean_initializer="random_normal"
    )
    y = norm(conv(x))
    return y if last is None else last(y)


@pytest.mark.parametrize(
    ("build", "nodes"),
    [
        (conv, 1),
        (lambda x: conv(x, use_bias=False, activation="elu"), 1),
        (with_border, 2),
        (normalized, 2),
        (lambda x: normalized(x, layers.Activation("softmax")), 3),
        (lambda x: normalized(x, layers.ReLU(0.5, negative_slope=0.1)), 3),
    ],
    ids=["plain", "elu, no bias", "border", "normalized", "normalized, softmax", "normalized, bounded relu"],
)
def test_the_same_to_rounding(build: Callable[[Any], Any], nodes: int) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 8, 4))
    model = keras.Model(inputs, layers.Identity()(build(inputs)))
    result = rewrite(model, [RULE])
    assert (result.counts(), result.refused) == (((RULE.name, 1),), ())
    assert len(result.applied[0].site.split("+")) == nodes
    assert {"conv", "conv_5"} <= {operation.name for operation in result.model.operations}
    x = tied_values((2, 5, 8, 4))
    # 36 products of values near 1, with transforms that sum up to 10 times as much and cancel.
    np.testing.assert_allclose(result.model(x), model(x), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param("unet_vgg16", 11, marks=pytest.mark.slow),
        pytest.param("segnet", 5, marks=pytest.mark.slow),
        pytest.param("deeplabv3plus_xception", 0, marks=pytest.mark.slow),
    ],
)
def test_in_the_zoo(name: str, count: int) -> None:
    """The rule comes behind those for upsampled maps, and works on what of theirs is a 3x3 convolution too.

    Of SegNet it leaves the encoder, whose poolings hand on which pixel was the largest.
    """
    model = create(name, num_classes=3, input_size=(64, 64))
    rules = rules_for("tflite", "xnnpack")
    assert dict(rewrite(model, rules.in_order(optimize=True)).counts()).get("ConvToWinograd", 0) == count


def test_only_where_it_was_asked_for_and_can_be_held() -> None:
    """It doubles the file, and fewer bits than 32 do not hold what its sums cancel."""

    def used(precision: Precision, *plan: Any) -> bool:
        rules = rules_for(*plan).in_order(optimize=True, precision=precision)
        return any(isinstance(rule, ConvToWinograd) for rule in rules)

    assert used("fp32", "tflite", "xnnpack")
    assert not used("fp16", "tflite", "xnnpack")
    assert not used("int8", "tflite", "xnnpack")
    assert not used("fp32", "tflite")
    assert not used("fp32", "onnx")


def shared(x: Any) -> Any:
    layer = layers.Conv2D(4, 3, padding="same", name="conv")
    return layer(layer(x))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (shared, "one of its layers is used in another place as well"),
        (lambda x: conv(x[..., :3]), "it has 3 -> 6 channels; with fewer than 4 nothing is gained"),
        (
            lambda x: layers.Conv2D(2, 3, padding="same")(x),
            "it has 4 -> 2 channels; with fewer than 4 nothing is gained",
        ),
        (lambda x: conv(x, dilation_rate=2), "'conv' is no plain 3x3 convolution of stride 1"),
        (lambda x: conv(x, strides=2), "'conv' is no plain 3x3 convolution of stride 1"),
        (lambda x: conv(x, groups=2), "'conv' is no plain 3x3 convolution of stride 1"),
        (lambda x: conv(x, padding="valid"), "'conv' does not keep the size: padding 'valid', border None"),
        (
            lambda x: conv(layers.ZeroPadding2D(1)(x)),
            "'conv' does not keep the size: padding 'same', border ((1, 1), (1,",
        ),
        (lambda x: conv(x[:, :, :6]), "its width 6 is not divisible by 4"),
    ],
    ids=["shared", "few in", "few out", "dilated", "strided", "grouped", "valid", "padded twice", "width"],
)
def test_refused_with_a_sentence(build: Callable[[Any], Any], reason: str) -> None:
    inputs = keras.Input((6, 8, 4))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [RULE])
    assert result.model is model
    assert reason in result.refused[0].reason


def test_a_small_map_is_refused() -> None:
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, conv(inputs))
    kept = rewrite(model, [ConvToWinograd(min_channels=4, min_products=8 * 8 * 4 * 6 + 1)])
    assert kept.refused[0].reason == "a map of 8x8 with 4 channels is too small to gain anything"
    assert rewrite(model, [ConvToWinograd(min_channels=4, min_products=8 * 8 * 4 * 6)]).counts() == ((RULE.name, 1),)


def test_what_something_else_reads_stays() -> None:
    """A border and a normalization with two readers are not of the site."""
    inputs = keras.Input((6, 8, 4))
    border = layers.ZeroPadding2D(1)(inputs)
    y = normalized(inputs)
    model = keras.Model(inputs, [y, layers.ReLU()(y), layers.AveragePooling2D(2)(border)])
    result = rewrite(model, [RULE])
    assert [applied.site.count("+") for applied in result.applied] == [1]
    assert {"ZeroPadding2D", "ReLU"} <= {type(operation).__name__ for operation in result.model.operations}


def test_xnnpack_takes_all_of_it_at_once() -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    y = normalized(layers.Conv2D(4, 1)(inputs), layers.ReLU())
    model = rewrite(keras.Model(inputs, layers.Conv2D(2, 1)(y)), [RULE]).model
    data = export(model, verify=False, options=ExportOptions(target="xnnpack", output_kind="logits")).data
    found = coverage(data, "xnnpack")
    assert (found.left, found.partitions) == ((), 1)
    x = tied_values((1, 8, 8, 3))
    np.testing.assert_allclose(LiteRTBackend(data).run(x), model(x), atol=1e-5)
