from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models.zoo.hrnet import hrnetv2
from edgeseg_converters.rewrites import UpsampleLikeToNearestResize, rewrite
from edgeseg_converters.rewrites.base import tied_values
from edgeseg_converters.rewrites.shared.lowered import NearestResize
from edgeseg_converters.rewrites.sum_in_steps import SumInSteps


@pytest.mark.parametrize("with_large", [True, False])
def test_only_one_map_is_resized_to_the_full_size(with_large: bool) -> None:
    inputs = keras.Input((16, 8, 3))
    terms = [layers.UpSampling2D(factor)(layers.AveragePooling2D(factor)(inputs)) for factor in (4, 2, 8)]
    model = keras.Model(inputs, layers.ReLU()(layers.Add(name="sum")([*terms, *([inputs] if with_large else [])])))
    result = rewrite(model, [SumInSteps()])
    assert (result.counts(), result.refused) == ((("SumInSteps", 1),), ())
    sizes = [operation.size for operation in result.model.operations if isinstance(operation, NearestResize)]
    assert sizes == [(4, 2), (8, 4), (16, 8)]
    assert result.model.get_layer("sum") is not None
    x = tied_values((2, 16, 8, 3))
    # A sum of four values below 4 in another order: an ulp or two of 16.
    np.testing.assert_allclose(result.model(x), model(x), atol=4e-6)


@pytest.mark.slow
def test_every_fusion_of_hrnet_with_two_smaller_branches() -> None:
    model = hrnetv2(num_classes=3, input_size=(64, 64), width=4, modules=(2, 1), blocks=1)
    result = rewrite(model, [UpsampleLikeToNearestResize(), SumInSteps()])
    # One in each module of stage 3, two in each of stage 4.
    assert dict(result.counts())["SumInSteps"] == 2 * 1 + 1 * 2
    x = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    logits = model.predict_on_batch(x)
    np.testing.assert_allclose(result.model.predict_on_batch(x), logits, atol=1e-4 * np.abs(logits).max())


def test_a_layer_with_another_place_is_refused_and_a_lone_resize_left_alone() -> None:
    inputs = keras.Input((16, 8, 3))
    small, smaller = layers.AveragePooling2D(2)(inputs), layers.AveragePooling2D(4)(inputs)
    up = layers.UpSampling2D(2)
    total = layers.Add()([up(small), layers.UpSampling2D(4)(smaller)])
    model = keras.Model(inputs, [total, up(smaller)])
    result = rewrite(model, [SumInSteps()])
    assert result.model is model
    assert "used in another place" in result.refused[0].reason
    lone = keras.Model(inputs, layers.Add()([inputs, layers.UpSampling2D(2)(small)]))
    assert rewrite(lone, [SumInSteps()]).refused == ()
