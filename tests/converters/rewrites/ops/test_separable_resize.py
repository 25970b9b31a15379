"""``ops.separable_resize``: resizes as two products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf
from keras import ops

from edgeseg_converters.rewrites.base import Refused
from edgeseg_converters.rewrites.ops.separable_resize import ResizeToProducts

RULE = ResizeToProducts()
SIZE = (7, 9)

BY_CODE: dict[str, Callable[[Any], Any]] = {
    "bicubic": lambda x: ops.image.resize(x, SIZE, interpolation="bicubic"),
    "bicubic, corners": lambda x: tf.raw_ops.ResizeBicubic(images=x, size=SIZE, align_corners=True),
    "bicubic, TensorFlow 1": lambda x: tf.raw_ops.ResizeBicubic(images=x, size=SIZE),
    "area": lambda x: tf.image.resize(x, SIZE, method="area"),
    "lanczos": lambda x: ops.image.resize(x, SIZE, interpolation="lanczos3"),
    "antialiased": lambda x: ops.image.resize(x, SIZE, antialias=True),
    "gaussian, shifted": lambda x: tf.raw_ops.ScaleAndTranslate(
        images=x, size=SIZE, scale=[1.5, 0.75], translation=[-1.5, 0.5], kernel_type="gaussian", antialias=True
    ),
    "crop": lambda x: tf.image.crop_and_resize(x, [[0.1, -0.2, 0.8, 0.7]], [0], SIZE),
    "crop, nearest": lambda x: tf.image.crop_and_resize(x, [[0.1, 0.2, 0.8, 0.7]], [0], SIZE, method="nearest"),
    "to the size of a map": lambda x: tf.image.resize(
        x, tf.shape(tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]]))[1:3], "area"
    ),
}


@pytest.mark.parametrize("height", [5, 13], ids=["larger", "smaller"])
@pytest.mark.parametrize("name", BY_CODE)
def test_it_becomes_two_products(name: str, height: int, replaced: Callable[..., set[str]]) -> None:
    types = replaced(BY_CODE[name], RULE, (1, height, 6, 3))
    assert "BatchMatMulV2" in types


def test_a_size_that_depends_on_the_image_is_refused(refused: Callable[..., Refused]) -> None:
    def code(x: Any) -> Any:
        side = tf.cast(tf.reduce_max(x), tf.int32) + 4
        return tf.ensure_shape(tf.raw_ops.ResizeArea(images=x, size=tf.stack([side, side])), (1, None, None, 3))

    assert (
        "the size of the ResizeArea depends on the image; give it a fixed size"
        in refused(code, RULE, (1, 4, 6, 3)).reason
    )


def test_several_crops_are_refused(refused: Callable[..., Refused]) -> None:
    def code(x: Any) -> Any:
        return tf.image.crop_and_resize(x, [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]], [0, 0], SIZE)

    assert "makes (2, 7, 9, 3) of (1, 4, 6, 3), not one map of one" in refused(code, RULE, (1, 4, 6, 3)).reason
