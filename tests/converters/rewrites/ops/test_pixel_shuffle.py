"""``ops.pixel_shuffle``: reshapes of rank 6 as DepthToSpace and SpaceToDepth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import pytest
import tensorflow as tf

from edgeseg_converters.keras_model.tensorflow_internals import with_constants
from edgeseg_converters.rewrites.ops.base import rewrite_ops
from edgeseg_converters.rewrites.ops.pixel_shuffle import ReshapesToPixelShuffle

RULE = ReshapesToPixelShuffle()


def shuffled(apart: Sequence[int], together: Sequence[int], order: Sequence[int] = (0, 1, 3, 2, 4, 5)) -> Any:
    return lambda x: tf.reshape(tf.transpose(tf.reshape(x, apart), order), together)


@pytest.mark.parametrize(
    ("apart", "together", "shape", "form"),
    [
        ((1, 5, 7, 2, 2, 3), (1, 10, 14, 3), (1, 5, 7, 12), "DepthToSpace"),
        ((-1, 5, 7, 3, 3, 1), (-1, 15, 21, 1), (1, 5, 7, 9), "DepthToSpace"),
        ((1, 5, 2, 7, 2, 3), (1, 5, 7, 12), (1, 10, 14, 3), "SpaceToDepth"),
        ((1, 2, 2, 2, 2, 3), (1, 4, 4, 3), (1, 2, 2, 12), "DepthToSpace"),  # sides as long as a block
        ((1, 2, 2, 2, 2, 3), (1, 2, 2, 12), (1, 4, 4, 3), "SpaceToDepth"),
    ],
)
def test_blocks_are_copied(
    apart: tuple[int, ...],
    together: tuple[int, ...],
    shape: tuple[int, ...],
    form: str,
    replaced: Callable[..., set[str]],
) -> None:
    types = replaced(shuffled(apart, together), RULE, shape)
    assert form in types and "Reshape" not in types


@pytest.mark.parametrize(
    ("apart", "together", "shape", "order"),
    [
        ((1, 5, 7, 3, 2, 2), (1, 10, 14, 3), (1, 5, 7, 12), (0, 1, 4, 2, 5, 3)),  # PyTorch's order
        ((1, 5, 7, 2, 3, 2), (1, 10, 21, 2), (1, 5, 7, 12), (0, 1, 3, 2, 4, 5)),  # blocks that are no squares
        ((1, 5, 7, 2, 2, 3), (1, 140, 3, 1), (1, 5, 7, 12), (0, 1, 3, 2, 4, 5)),
    ],
)
def test_other_reshapes_are_kept(
    apart: tuple[int, ...], together: tuple[int, ...], shape: tuple[int, ...], order: tuple[int, ...]
) -> None:
    code = tf.function(shuffled(apart, together, order), autograph=False)
    function = with_constants(code.get_concrete_function(tf.TensorSpec(shape)))
    assert rewrite_ops(function, [RULE], keras.Sequential([keras.Input((1,))])) == ((), ())
