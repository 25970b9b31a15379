"""``ops.unpooling``: unpooling by indices in code of any name, and how it is found in a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf
from keras import layers, ops

from edgeseg_converters.rewrites import MaxUnpoolingToDelegateOps, MaxUnpoolingToMasks
from edgeseg_converters.rewrites.base import Refused
from edgeseg_converters.rewrites.ops.unpooling import UnpoolingOps

MASKS, DELEGATE = UnpoolingOps(MaxUnpoolingToMasks()), UnpoolingOps(MaxUnpoolingToDelegateOps())
SHAPE = (1, 6, 8, 3)
POSITIONS = 6 * 8 * 3


def scattered(index: Any, values: Any) -> Any:
    """As in most repositories: one row of indices for each image."""
    size = tf.shape(values)
    index = tf.cast(tf.reshape(index, (size[0], -1)), tf.int32)
    batch = tf.repeat(tf.range(size[0])[:, None], tf.shape(index)[1], 1)
    flat = tf.scatter_nd(tf.stack([batch, index], -1), tf.reshape(values, (size[0], -1)), (size[0], POSITIONS))
    return tf.reshape(flat, (-1, *SHAPE[1:]))


def scattered_by_places(index: Any, values: Any) -> Any:
    """As in the older tutorials: batch, row, column and channel from the index."""
    index, one = tf.cast(index, tf.int64), tf.ones_like(index, tf.int64)
    size = tf.shape(values, tf.int64)
    places = [
        one * tf.reshape(tf.range(size[0]), (-1, 1, 1, 1)),
        index // (8 * 3),
        (index // 3) % 8,
        one * tf.range(size[3]),
    ]
    places = tf.transpose(tf.reshape(tf.stack(places), (4, -1)))
    return tf.scatter_nd(places, tf.reshape(values, (-1,)), tf.concat([size[:1], SHAPE[1:]], 0))


def summed_by_segments(index: Any, values: Any) -> Any:
    index = tf.reshape(tf.cast(index, tf.int32), (-1,))
    return tf.reshape(tf.math.unsorted_segment_sum(tf.reshape(values, (-1,)), index, POSITIONS), SHAPE)


def updated(index: Any, values: Any) -> Any:
    index = tf.reshape(tf.cast(index, tf.int32), (-1, 1))
    return tf.reshape(tf.tensor_scatter_nd_update(tf.zeros(POSITIONS), index, tf.reshape(values, (-1,))), SHAPE)


def by_keras(index: Any, values: Any) -> Any:
    index = ops.reshape(ops.cast(index, "int32"), (-1, 1))
    return ops.reshape(ops.scatter(index, ops.reshape(values, (-1,)), (POSITIONS,)), SHAPE)


def one_hot(index: Any, values: Any) -> Any:
    index = tf.cast(index, tf.int32)
    place = index // (8 * 3) % 2 * 2 + index // 3 % 8 % 2
    parts = tf.one_hot(place, 4, axis=3) * values[:, :, :, None]
    return tf.reshape(tf.transpose(tf.reshape(parts, (1, 3, 4, 2, 2, 3)), (0, 1, 3, 2, 4, 5)), SHAPE)


def compared(index: Any, values: Any) -> Any:
    def up(x: Any) -> Any:
        return tf.repeat(tf.repeat(x, 2, 1), 2, 2)

    return tf.where(up(tf.cast(index, tf.int32)) == tf.reshape(tf.range(POSITIONS), SHAPE), up(values), 0.0)


def gradient(index: Any, values: Any) -> Any:
    """TensorFlow's own."""
    return tf.raw_ops.MaxPoolGradWithArgmax(
        input=tf.zeros(SHAPE),
        grad=values,
        argmax=tf.cast(index, tf.int64),
        ksize=[1, 2, 2, 1],
        strides=[1, 2, 2, 1],
        padding="VALID",
    )


FORMS = (scattered, scattered_by_places, summed_by_segments, updated, by_keras, one_hot, compared, gradient)


@pytest.mark.parametrize("unpool", FORMS)
def test_an_unpooling_of_any_form_becomes_masks(unpool: Callable[..., Any], replaced: Callable[..., set[str]]) -> None:
    def code(x: Any, values: Any) -> Any:
        pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
        return unpool(tf.cast(index, tf.float32), tf.nn.relu(values) + 1.0), pooled

    types = replaced(code, MASKS, SHAPE, (1, 3, 4, 3))
    assert not types & {"ScatterNd", "TensorScatterUpdate", "UnsortedSegmentSum", "OneHot", "MaxPoolGradWithArgmax"}
    assert {"MaxPool", "DepthToSpace"} < types


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
@pytest.mark.parametrize(
    "options", [{"padding": "SAME"}, {"padding": "VALID", "include_batch_in_index": True}], ids=str
)
def test_every_kind_of_index(options: dict[str, Any], dtype: str, replaced: Callable[..., set[str]]) -> None:
    def code(x: Any) -> Any:
        pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, **options)
        return scattered(tf.cast(index, dtype), pooled)  # the pooled map itself

    replaced(code, MASKS, SHAPE)


def test_two_unpoolings_of_one_index_and_a_pooling_within(replaced: Callable[..., set[str]]) -> None:
    def code(x: Any, values: Any) -> Any:
        pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
        return scattered(index, tf.tanh(pooled)) + summed_by_segments(index, values), tf.reduce_sum(pooled)

    replaced(code, MASKS, SHAPE, (1, 3, 4, 3))


def test_a_pooling_whose_index_nobody_reads_becomes_a_pooling(replaced: Callable[..., set[str]]) -> None:
    types = replaced(lambda x: tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")[0], MASKS, SHAPE)
    assert "MaxPool" in types
    assert "SpaceToDepth" not in types


def test_the_delegates_ops_take_its_place_on_their_targets(replaced: Callable[..., set[str]]) -> None:
    def code(x: Any) -> Any:
        pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
        return scattered(index, pooled)

    types = replaced(code, DELEGATE, SHAPE, left=["MaxPoolWithArgmax"])
    assert "MaxPoolGradWithArgmax" in types
    assert "ScatterNd" not in types


def pooled_by(window: int, stride: int = 2) -> Callable[[Any], Any]:
    return lambda x: tf.nn.max_pool_with_argmax(x, window, stride, "SAME")[0]


def one_further(x: Any) -> Any:
    pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
    return scattered((index + 1) % POSITIONS, pooled)


def beyond_the_map(x: Any) -> Any:
    pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
    return scattered(index + POSITIONS, pooled)


def given_away(x: Any) -> Any:
    pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
    return scattered(index, pooled), index


def used_elsewhere(x: Any) -> Any:
    pooled, index = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
    return scattered(index, pooled), tf.cast(index, tf.float32) + tf.reduce_mean(x)


@pytest.mark.parametrize(
    ("code", "shape", "reason"),
    [
        (pooled_by(3), SHAPE, "its windows are (3, 3) with strides (2, 2); only 2x2 with stride 2 holds"),
        (pooled_by(2, 1), SHAPE, "its windows are (2, 2) with strides (1, 1); only 2x2 with stride 2 holds"),
        (pooled_by(2), (1, 5, 8, 3), "the pooled map is 5x8; height and width must be fixed and even"),
        (one_further, SHAPE, "the replacement differs by"),
        (beyond_the_map, SHAPE, "its own code fails on random input"),
        (given_away, SHAPE, "its index reaches an output of the model without an unpooling"),
        (used_elsewhere, SHAPE, "(AddV2) without an unpooling to the size before the pooling"),
    ],
)
def test_refused_with_a_sentence(
    code: Callable[[Any], Any], shape: tuple[int, ...], reason: str, refused: Callable[..., Refused]
) -> None:
    assert reason in refused(code, MASKS, shape).reason


class Pool(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")[0]
