from __future__ import annotations

from collections.abc import Callable

import keras
import pytest
from keras import layers

from edgeseg_converters.rewrites import UpSamplingToNearestResize, rewrite, rules_for

RULE = UpSamplingToNearestResize()


@pytest.mark.parametrize("factors", [(2, 2), (3, 1), (1, 4)])
def test_replaced_exactly(factors: tuple[int, int], assert_replaced: Callable[..., None]) -> None:
    x = keras.Input((4, 6, 3))
    model = keras.Model(x, layers.ReLU()(layers.UpSampling2D(factors, name="up")(x)))
    result = assert_replaced(model, RULE, 1, gone=["UpSampling2D"])
    assert "up" in [layer.name for layer in result.model.layers]


def test_bilinear_is_one_resize_already() -> None:
    x = keras.Input((4, 6, 3))
    result = rewrite(keras.Model(x, layers.UpSampling2D(2, interpolation="bilinear")(x)), [RULE])
    assert (result.applied, result.refused) == ((), ())


def test_a_size_known_only_at_run_time_is_refused() -> None:
    x = keras.Input((None, None, 3))
    result = rewrite(keras.Model(x, layers.UpSampling2D(2)(x)), [RULE])
    assert result.applied == ()
    assert "export with a fixed input size" in result.refused[0].reason


def test_phases_come_first_and_this_rule_takes_what_they_leave() -> None:
    x = keras.Input((4, 6, 32))
    wide = layers.Conv2D(8, 3, padding="same")(layers.UpSampling2D(2)(x))  # pays as phases
    model = keras.Model(x, layers.Conv2D(2, 3, padding="same")(layers.UpSampling2D(2)(wide)))  # 8 channels: does not
    rules = rules_for("onnx")
    result = rewrite(model, (*rules.swaps, *rules.speed_ups))
    assert result.counts() == (("UpsampleConvToPhases", 1), ("UpSamplingToNearestResize", 1))
