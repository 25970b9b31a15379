from __future__ import annotations

from collections.abc import Callable

import keras
import pytest
from keras import layers

from edgeseg.models import create
from edgeseg.models.layers import UpsampleLike
from edgeseg.models.zoo.hrnet import hrnetv2
from edgeseg_converters.rewrites import UpsampleLikeToNearestResize, rewrite

RULE = UpsampleLikeToNearestResize()


@pytest.mark.parametrize("size", [(8, 12), (7, 5), (4, 6), (2, 3)])  # a whole factor, an odd one, none, smaller
def test_replaced_exactly(size: tuple[int, int], assert_replaced: Callable[..., None]) -> None:
    x, like = keras.Input((4, 6, 3)), keras.Input((*size, 1))
    model = keras.Model([x, like], layers.ReLU()(UpsampleLike(name="Upsample1")([x, like])))
    result = assert_replaced(model, RULE, 1, gone=["UpsampleLike"])
    assert "Upsample1" in [layer.name for layer in result.model.layers]


@pytest.mark.slow
def test_hrnet_has_34_each_proven() -> None:
    result = rewrite(create("hrnetv2_w18", num_classes=2, input_size=(32, 32)), [RULE])
    assert result.counts() == ((RULE.name, 34),)
    assert result.refused == ()
    assert result.max_abs_error(RULE.name) == 0


@pytest.mark.slow
def test_a_whole_hrnet_stays_the_same(assert_replaced: Callable[..., None]) -> None:
    narrow = hrnetv2(width=4, modules=(1, 1), num_classes=2, input_size=(32, 64))
    count = sum(isinstance(layer, UpsampleLike) for layer in narrow.layers)
    assert_replaced(narrow, RULE, count, gone=["UpsampleLike"])


def test_a_size_known_only_at_run_time_is_refused() -> None:
    x, like = keras.Input((4, 6, 3)), keras.Input((None, None, 1))
    result = rewrite(keras.Model([x, like], UpsampleLike()([x, like])), [RULE])
    assert result.applied == ()
    assert "the map that gives the size is (None, None, None, 1); build the model with" in result.refused[0].reason
