from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edgeseg.models.intervals import Interval, ValueIntervals
from edgeseg_converters.keras_model.graph import Graph

Tensor = Any


def sigmoid(x: Tensor) -> Tensor:
    return layers.Conv2D(1, 1, activation="sigmoid")(x)


class Blur(layers.Layer):  # type: ignore[misc]
    def call(self, x: Tensor) -> Tensor:
        return tf.nn.conv2d(x, np.full((3, 3, 1, 1), 1 / 9, np.float32), 1, "SAME")


class Cumulative(layers.Layer):  # type: ignore[misc]
    """Of a normal distribution: a probability by an op that the ranges do not have."""

    def call(self, x: Tensor) -> Tensor:
        return 0.5 * (1 + tf.math.erf(x))


PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": sigmoid,
    "tf.nn.sigmoid": lambda x: layers.Conv2D(1, 1, activation=tf.nn.sigmoid)(x),
    "hard sigmoid": lambda x: layers.Conv2D(1, 1, activation="hard_sigmoid")(x),
    "clip": lambda x: keras.ops.clip(layers.Conv2D(1, 1)(x), 0, 1),
    "half of tanh + 1": lambda x: (keras.ops.tanh(layers.Conv2D(1, 1)(x)) + 1) / 2,
    "enlarged": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(sigmoid(x)),
    "repeated": lambda x: layers.UpSampling2D(2)(sigmoid(x)),
    "reshaped, turned, cropped, padded": lambda x: layers.ZeroPadding2D(1)(
        layers.Cropping2D(1)(layers.Permute((2, 1, 3))(layers.Reshape((6, 4, 1))(sigmoid(x))))
    ),
    "mean": lambda x: layers.Average()([sigmoid(x), sigmoid(x), sigmoid(x)]),
    "weighted mean": lambda x: 0.7 * sigmoid(x) + 0.3 * sigmoid(x),
    "the other class": lambda x: 1 - sigmoid(x),
    "one class of a softmax": lambda x: layers.Conv2D(2, 1, activation="softmax")(x)[..., 1:],
    "mask": lambda x: keras.ops.cast(sigmoid(x) > 0.3, "float32"),
}
OTHERS: dict[str, tuple[Callable[[Tensor], Tensor], Interval]] = {
    "logits": (lambda x: layers.UpSampling2D(2)(layers.Conv2D(1, 1)(x)), Interval(origin="linear")),
    "normalized logits": (lambda x: layers.BatchNormalization()(layers.Conv2D(1, 1)(x)), Interval(origin="linear")),
    "sum of logits": (lambda x: layers.Conv2D(1, 1)(x) + layers.Conv2D(1, 1)(x), Interval(origin="linear")),
    "relu": (lambda x: layers.Conv2D(1, 1, activation="relu")(x), Interval(0, math.inf)),
    "bytes": (lambda x: 255 * sigmoid(x), Interval(0, 255)),
    "blur": (lambda x: Blur()(sigmoid(x)), Interval()),  # a convolution's, but maybe still a probability
    "unknown": (lambda x: Cumulative()(layers.Conv2D(1, 1)(x)), Interval()),
    "divided by what is seen": (lambda x: (y := layers.Conv2D(1, 1)(x)) / keras.ops.max(y), Interval()),
    "ids": (lambda x: keras.ops.argmax(layers.Conv2D(3, 1)(x), axis=-1, keepdims=True), Interval(0, math.inf, "ids")),
}


def found(build: Callable[[Tensor], Tensor]) -> Interval:
    inputs = keras.Input((4, 6, 3))
    graph = Graph.from_model(keras.Model(inputs, build(inputs)))
    return ValueIntervals(graph.producer).of(graph.outputs[0])


@pytest.mark.parametrize("name", PROBABILITIES)
def test_a_probability_is_known_by_its_ops(name: str) -> None:
    assert found(PROBABILITIES[name]).is_probability


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_none_is_not_taken_for_one(name: str) -> None:
    build, expected = OTHERS[name]
    assert found(build) == expected
    assert not expected.is_probability
