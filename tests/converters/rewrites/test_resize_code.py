"""Resizes in code of any name, and ``shared.own_code``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf
from keras import layers, ops

from edgeseg_converters.rewrites import ResizeCodeToLayer, RewriteResult, rewrite, rules_for
from edgeseg_converters.rewrites.shared.own_code import has_own_code

RULE = ResizeCodeToLayer()


class Like(layers.Layer):  # type: ignore[misc]
    """A class of somebody's, for two maps."""

    def __init__(self, code: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.code = code

    def call(self, x: Any, like: Any) -> Any:
        return self.code(x, tf.shape(like)[1:3])

    def compute_output_spec(self, x: Any, like: Any) -> keras.KerasTensor:
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)


def model_of(code: Callable[[Any, Any], Any], height: int = 8) -> keras.Model:
    x, like = keras.Input((4, 6, 5)), keras.Input((height, 12, 2))
    return keras.Model([x, like], Like(code)(x, like))


def tf1(kind: str, **options: bool) -> Callable[[Any, Any], Any]:
    return lambda x, size: getattr(tf.raw_ops, kind)(images=x, size=size, **options)


@pytest.mark.parametrize("height", [8, 9])
@pytest.mark.parametrize(
    ("code", "layer"),
    [
        (tf1("ResizeNearestNeighbor"), "NearestResize"),
        (lambda x, size: tf.image.resize(x, size, "nearest"), "NearestResize or Resizing"),
        (lambda x, size: tf.image.resize(x, size), "ResizeBilinear"),
        (tf1("ResizeBilinear", align_corners=True), "ResizeBilinear"),
    ],
    ids=["TensorFlow 1", "nearest", "bilinear", "corners"],
)
def test_the_layer_for_what_the_code_does(
    code: Callable[[Any, Any], Any], layer: str, height: int, assert_replaced: Callable[..., RewriteResult]
) -> None:
    result = assert_replaced(model_of(code, height), RULE, 1, ["Like"])
    (made,) = {type(operation).__name__ for operation in result.model.operations} - {"InputLayer"}
    assert made in layer.split(" or ")


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.image.resize(x, (8, 12)),
        lambda x: ops.image.resize(x, (9, 12), interpolation="nearest"),
        layers.Lambda(lambda x: tf.image.resize(x, (8, 12))),
    ],
    ids=["keras.ops", "keras.ops nearest", "Lambda"],
)
def test_of_one_map(build: Callable[[Any], Any], assert_replaced: Callable[..., RewriteResult]) -> None:
    x = keras.Input((4, 6, 5))
    assert_replaced(keras.Model(x, build(x)), RULE, 1, ["Resize", "Lambda"])


def test_rules_for_layers_find_it_afterwards() -> None:
    x = keras.Input((16, 24, 3))
    small = layers.Conv2D(8, 3, strides=4, padding="same")(x)
    up = Like(lambda x, size: tf.image.resize(x, size))(small, x)
    result = rewrite(keras.Model(x, layers.Conv2D(3, 1)(up)), rules_for("tflite").in_order(optimize=True))
    assert [rule for rule, _ in result.counts()] == ["ResizeCodeToLayer", "PointwiseBeforeResize"]


@pytest.mark.parametrize(
    "code",
    [
        tf1("ResizeBilinear"),  # neither corners nor half pixels: no layer has it
        tf1("ResizeNearestNeighbor", align_corners=True),
        lambda x, size: tf.image.resize(x, size, "bicubic"),
        lambda x, size: tf.image.resize(2 * x, size),
        lambda x, size: tf.image.resize(x, size) + 1,
    ],
    ids=["TensorFlow 1", "nearest corners", "bicubic", "more before", "more after"],
)
def test_other_code_is_left_alone(code: Callable[[Any, Any], Any]) -> None:
    model = model_of(code)
    result = rewrite(model, [RULE])
    assert (result.model, result.refused) == (model, ())


def test_what_counts_as_own_code() -> None:
    assert has_own_code(Like(lambda x, size: x))
    assert has_own_code(layers.Lambda(lambda x: x))
    assert not has_own_code(layers.MultiHeadAttention(2, 2))
