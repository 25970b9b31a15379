"""``ops.negative_zero``: the bits that ``keras.ops.argmax`` looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from edgeseg_converters.rewrites.ops.base import Trace, rewrite_ops, run
from edgeseg_converters.rewrites.ops.negative_zero import NegativeZeroToZero

RULE = NegativeZeroToZero()
BITS = {"Bitcast", "BitwiseAnd", "SelectV2"}


@pytest.mark.parametrize(
    "code",
    [
        lambda x: ops.argmax(x, -1),
        lambda x: ops.argmin(x, 1),
        lambda x: ops.argmax(x, -1, keepdims=True),
        lambda x: ops.argmax(x),
        lambda x: ops.one_hot(ops.argmax(x, -1), 3) * x,
    ],
    ids=["argmax", "argmin", "keepdims", "of all", "one-hot"],
)
def test_only_the_argmax_is_left(code: Callable[[Any], Any], replaced: Callable[..., set[str]]) -> None:
    assert not replaced(code, RULE, (1, 4, 5, 3)) & BITS


def test_the_first_of_equal_values_is_taken_and_both_zeros_are_equal() -> None:
    function = tf.function(lambda x: ops.argmax(x, -1), autograph=False).get_concrete_function(tf.TensorSpec((4, 3)))
    rows = np.array([[2, 7, 7], [-0.0, 0.0, -1], [np.nan, 1, 2], [-np.inf, -np.inf, -np.inf]], np.float32)
    before = run(function.outputs, function.inputs, [rows])[0].tolist()
    rewrite_ops(function, [RULE], keras.Sequential([keras.Input((1,))]))
    after = run(function.outputs, function.inputs, [rows])[0].tolist()
    assert before == [1, 1, after[2], 0]  # Keras takes 0.0 for larger than -0.0
    assert after == [1, 0, after[2], 0]


def test_a_choice_between_values_is_left_alone() -> None:
    def code(x: Any) -> Any:
        return tf.where(x > 0, tf.where(x > 1, 1e-30, x), 0.0)

    function = tf.function(code, autograph=False).get_concrete_function(tf.TensorSpec((4, 3)))
    assert rewrite_ops(function, [RULE], keras.Sequential([keras.Input((1,))])) == ((), ())
    assert "SelectV2" in {op.type for op in Trace(function).ops}
