"""``ops.reversed_channels``: ``x[..., ::-1]`` as the order of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg_converters.keras_model.tensorflow_internals import with_constants
from edgeseg_converters.rewrites.ops.base import rewrite_ops
from edgeseg_converters.rewrites.ops.reversed_channels import ReversedChannelsToWeights

RULE = ReversedChannelsToWeights()
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
SHAPE = (1, 6, 8, 4)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x[..., ::-1],
        lambda x: x[:, :, :, ::-1],
        lambda x: tf.reverse(x, [-1]),
        lambda x: tf.nn.conv2d(x[..., ::-1], KERNEL, 2, "SAME", dilations=1),
        lambda x: tf.nn.conv2d(tf.reverse(x, [3]), KERNEL, 1, [[0, 0], [2, 1], [0, 3], [0, 0]]),
        lambda x: tf.nn.conv2d(x[..., ::-1], KERNEL, 1, "VALID", dilations=2),
    ],
)
def test_the_weights_have_the_order(code: Callable[[Any], Any], replaced: Callable[..., set[str]]) -> None:
    assert "Conv2D" in replaced(code, RULE, SHAPE)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x[:, :, ::-1],  # the image is mirrored
        lambda x: x[:, ::-1, :, ::-1],
        lambda x: x[..., 1:],
        lambda x: tf.reverse(x, [2]),
        lambda x: tf.reverse(tf.tile(x, (1, 1, 1, 8)), [-1]),  # 32 channels
    ],
)
def test_other_slices_are_kept(code: Callable[[Any], Any]) -> None:
    concrete = tf.function(code, autograph=False).get_concrete_function(tf.TensorSpec(SHAPE))
    assert rewrite_ops(with_constants(concrete), [RULE], keras.Sequential([keras.Input((1,))])) == ((), ())
