"""``ops.transposed_convolution``: kernels that are too short, and dilated ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf
from keras import layers

from edgeseg_converters.rewrites.base import Refused
from edgeseg_converters.rewrites.ops.transposed_convolution import DilatedTransposedToConvolution, ShortKernelToPadded

CONVOLUTION = "Conv2DBackpropInput"


def conv(**options: Any) -> layers.Layer:
    keras.utils.set_random_seed(0)
    layer = layers.Conv2DTranspose(4, bias_initializer="normal", **options)
    layer.build((1, 5, 6, 3))
    return layer


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1, "strides": 2, "padding": "same"},
        {"kernel_size": 1, "strides": 2, "padding": "valid"},
        {"kernel_size": 2, "strides": 4, "padding": "same"},
        {"kernel_size": (1, 3), "strides": 2, "padding": "same"},
        {"kernel_size": (3, 1), "strides": (2, 4), "padding": "valid"},
        {"kernel_size": 3, "strides": 2, "padding": "valid", "output_padding": 1},
        {"kernel_size": 3, "strides": 3, "padding": "valid", "output_padding": (0, 2)},
    ],
    ids=str,
)
def test_a_short_kernel_gets_zeros(options: dict[str, Any], replaced: Callable[..., set[str]]) -> None:
    replaced(conv(**options), ShortKernelToPadded(), (1, 5, 6, 3), left=[CONVOLUTION])


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
        {"kernel_size": 2, "dilation_rate": 3, "padding": "same"},
        {"kernel_size": (4, 3), "dilation_rate": (1, 2), "padding": "same"},
        {"kernel_size": 3, "dilation_rate": 2, "padding": "valid"},
        {"kernel_size": (1, 4), "dilation_rate": (3, 2), "padding": "valid"},
    ],
    ids=str,
)
def test_a_dilated_one_becomes_a_convolution(options: dict[str, Any], replaced: Callable[..., set[str]]) -> None:
    assert "Conv2D" in replaced(conv(**options), DilatedTransposedToConvolution(), (1, 5, 6, 3))


@pytest.mark.parametrize("rule", [ShortKernelToPadded(), DilatedTransposedToConvolution()])
def test_a_kernel_that_depends_on_the_image_is_refused(rule: Any, refused: Callable[..., Refused]) -> None:
    dilation = 2 if rule.needs_xla else 1

    def code(x: Any) -> Any:
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=[1, 10, 12, 4] if dilation == 1 else [1, 5, 6, 4],
            filter=tf.reshape(tf.reshape(x, (-1,))[:12], (1, 1, 4, 3)),
            out_backprop=x,
            strides=[1, 3 - dilation, 3 - dilation, 1],
            padding="SAME",
            dilations=[1, dilation, dilation, 1],
        )

    assert "the kernel of the transposed convolution depends on the image" in refused(code, rule, (1, 5, 6, 3)).reason
