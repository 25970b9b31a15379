"""``shared.lowered``: nearest-neighbor upsampling on each runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers

from edgeseg.models.layers import UpsampleLike
from edgeseg_converters.rewrites import (
    NearestResizeToBroadcast,
    UpsampleLikeToNearestResize,
    UpsamplingToNearestResize,
    rewrite,
)
from edgeseg_converters.rewrites.shared.lowered import NearestBroadcast, NearestResize


@pytest.mark.parametrize("size", [2, 3, (4, 1), 7])
def test_upsampling_becomes_one_resize(size: Any, assert_replaced: Callable[..., Any]) -> None:
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, layers.UpSampling2D(size, name="up")(inputs))
    result = assert_replaced(model, UpsamplingToNearestResize(), 1, gone=["UpSampling2D"])
    assert isinstance(result.model.get_layer("up"), NearestResize)


@pytest.mark.parametrize("size", [(8, 12), (12, 6), (32, 48), (4, 6)])
def test_a_whole_factor_becomes_a_broadcast(size: tuple[int, int], assert_replaced: Callable[..., Any]) -> None:
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, layers.ReLU()(NearestResize(size, name="up")(inputs)))
    result = assert_replaced(model, NearestResizeToBroadcast(), 1, gone=["NearestResize"])
    assert isinstance(result.model.get_layer("up"), NearestBroadcast)


def test_another_factor_stays_a_resize() -> None:
    x, like = keras.Input((4, 6, 3)), keras.Input((6, 9, 1))
    result = rewrite(
        keras.Model([x, like], UpsampleLike()([x, like])), [UpsampleLikeToNearestResize(), NearestResizeToBroadcast()]
    )
    assert result.counts() == (("UpsampleLikeToNearestResize", 1),)
    assert result.refused == ()


def test_bilinear_upsampling_is_none_of_its_business() -> None:
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, layers.UpSampling2D(2, interpolation="bilinear")(inputs))
    result = rewrite(model, [UpsamplingToNearestResize()])
    assert result.model is model
    assert result.refused == ()


@pytest.mark.parametrize(
    ("shape", "data_format", "reason"),
    [
        ((4, 6, 3), "channels_first", "it is channels_first"),
        ((None, 6, 3), "channels_last", "build the model with a fixed input size"),
    ],
)
def test_refused_with_a_sentence(shape: tuple[int | None, ...], data_format: str, reason: str) -> None:
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.UpSampling2D(2, data_format=data_format)(inputs))
    result = rewrite(model, [UpsamplingToNearestResize()])
    assert result.model is model
    assert reason in result.refused[0].reason
