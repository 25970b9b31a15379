"""``shared.max_unpooling_site``: unpooling with indices, by masks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgeseg.models import create
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg_converters.rewrites import MaxUnpoolingToMasks, rewrite

RULE = MaxUnpoolingToMasks()
GONE = ["MaxPoolingWithArgmax2D", "MaxUnpooling2D"]


@pytest.mark.parametrize("convention", [{}, {"include_batch_in_index": True}])
@pytest.mark.parametrize("pool", [{"index_dtype": "float32"}, {"padding": "valid"}])
def test_a_pair_is_replaced_exactly_on_ties(
    convention: dict[str, Any], pool: dict[str, Any], assert_replaced: Callable[..., None]
) -> None:
    inputs = keras.Input((6, 8, 5))
    pooled = MaxPoolingWithArgmax2D(2, 2, name="pool", **pool, **convention)(inputs)
    model = keras.Model(inputs, MaxUnpooling2D(2, name="unpool", **convention)(pooled))
    result = assert_replaced(model, RULE, 1, GONE)
    assert {"pool", "unpool"} < {operation.name for operation in result.model.operations}


def test_the_first_of_equal_values_takes_all() -> None:
    inputs = keras.Input((2, 2, 1))
    pooled, index = MaxPoolingWithArgmax2D()(inputs)
    model = keras.Model(inputs, MaxUnpooling2D()([pooled + 5.0, index]))
    rewritten = rewrite(model, [RULE]).model
    for pixels, winner in (([0, 0, 0, 0], 0), ([0, 1, 1, 0], 1), ([0, 0, 1, 1], 2), ([-2, -1, -3, -1], 1)):
        x = np.array(pixels, np.float32).reshape(1, 2, 2, 1)
        expected = np.zeros(4)
        expected[winner] = max(pixels) + 5
        np.testing.assert_array_equal(np.ravel(rewritten(x)), expected)
        np.testing.assert_array_equal(rewritten(x), model(x))


def test_values_that_went_through_layers_and_an_index_read_twice(assert_replaced: Callable[..., None]) -> None:
    inputs = keras.Input((8, 8, 4))
    pooled, index = MaxPoolingWithArgmax2D()(inputs)
    inner, inner_index = MaxPoolingWithArgmax2D()(layers.Conv2D(6, 1)(pooled))
    x = layers.Conv2D(4, 3, padding="same")(MaxUnpooling2D()([inner, inner_index]))
    outputs = [MaxUnpooling2D(name="a")([x, index]), MaxUnpooling2D(name="b")([pooled, index])]
    # The site's own nodes and values are compared exactly; the convolutions between them are the same layers.
    assert_replaced(keras.Model(inputs, outputs), RULE, 2, GONE)


def test_a_pooling_whose_index_nobody_reads_becomes_a_pooling(assert_replaced: Callable[..., None]) -> None:
    inputs = keras.Input((4, 4, 3))
    result = assert_replaced(keras.Model(inputs, MaxPoolingWithArgmax2D(name="pool")(inputs)[0]), RULE, 1, GONE)
    assert isinstance(result.model.get_layer("pool"), layers.MaxPooling2D)


def test_segnet_has_five_pairs(assert_replaced: Callable[..., None]) -> None:
    assert_replaced(create("segnet", num_classes=3, input_size=(32, 64)), RULE, 5, GONE)


def index_elsewhere(x: Any) -> Any:
    pooled, index = MaxPoolingWithArgmax2D()(x)
    return MaxUnpooling2D()([pooled, index]), ops.cast(index, "float32")


def overlapping(x: Any) -> Any:
    return MaxUnpooling2D(2)(MaxPoolingWithArgmax2D(3, 2, name="pool")(x))


def odd(x: Any) -> Any:
    return MaxUnpooling2D()(MaxPoolingWithArgmax2D()(x[:, :5]))


def mixed(x: Any) -> Any:
    return MaxUnpooling2D(include_batch_in_index=True)(MaxPoolingWithArgmax2D()(x))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (index_elsewhere, "its index is read by cast"),
        (overlapping, r"'pool' has pool_size \(3, 3\); only 2x2 with stride 2 holds"),
        (odd, "the pooled map is 5x8; height and width must be fixed and even"),
        (mixed, "pooling and unpooling disagree on include_batch_in_index"),
    ],
)
def test_refused_with_a_sentence(build: Callable[[Any], Any], reason: str) -> None:
    inputs = keras.Input((6, 8, 4))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [RULE])
    assert result.model is model
    (refused,) = result.refused
    assert re.search(reason, refused.reason)
