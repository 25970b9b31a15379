"""``ops.integer_product``: what Keras' own quantization computes in int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg_converters.rewrites.ops.base import Trace, rewrite_ops
from edgeseg_converters.rewrites.ops.integer_product import IntegerProductToFloat

RULE = IntegerProductToFloat()
WEIGHTS = np.random.default_rng(0).integers(-127, 128, (3, 5), np.int8)


def as_bytes(x: Any) -> Any:
    return tf.cast(tf.round(x * 20), tf.int8)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: tf.cast(tf.matmul(as_bytes(x), WEIGHTS, output_type=tf.int32), tf.float32),
        lambda x: tf.cast(tf.matmul(as_bytes(x), as_bytes(x), transpose_b=True, output_type=tf.int32), tf.float32),
    ],
    ids=["with weights", "of two maps"],
)
def test_it_becomes_a_product_in_float32(code: Callable[[Any], Any], replaced: Callable[..., set[str]]) -> None:
    assert "BatchMatMulV2" in replaced(code, RULE, (1, 2, 4, 3))


def test_products_of_floats_are_left_alone() -> None:
    code = tf.function(lambda x: tf.einsum("bhc,cf->bhf", x, tf.cast(WEIGHTS, tf.float32)), autograph=False)
    function = code.get_concrete_function(tf.TensorSpec((1, 4, 3)))
    assert rewrite_ops(function, [RULE], keras.Sequential([keras.Input((1,))])) == ((), ())
    assert "Einsum" in {op.type for op in Trace(function).ops}
