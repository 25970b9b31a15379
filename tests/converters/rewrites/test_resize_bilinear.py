"""``shared.static_size``: bilinear resizes to a size that is fixed."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest
from keras import layers

from edgeseg.models.layers import ResizeBilinear
from edgeseg_converters.rewrites import ResizeBilinearToFixedSize, rewrite

RULE = ResizeBilinearToFixedSize()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(8, 12), (7, 5), (4, 6)])
def test_replaced_exactly(size: tuple[int, int], align_corners: bool, assert_replaced: Callable[..., None]) -> None:
    x, like = keras.Input((4, 6, 3)), keras.Input((*size, 1))
    y = ResizeBilinear(align_corners=align_corners, name="resize")([x, like])
    result = assert_replaced(keras.Model([x, like], layers.ReLU()(y)), RULE, 1, gone=[])
    layer = result.model.get_layer("resize")
    if size == (4, 6):
        assert isinstance(layer, layers.Identity)
    else:
        assert (layer.size, layer.align_corners) == (size, align_corners)


def test_one_of_a_fixed_size_is_left_alone() -> None:
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, ResizeBilinear((8, 12))(inputs))
    assert rewrite(model, [RULE]).model is model


def test_a_size_known_only_at_run_time_is_refused() -> None:
    x, like = keras.Input((None, None, 3)), keras.Input((8, 8, 1))
    result = rewrite(keras.Model([x, like], ResizeBilinear()([x, like])), [RULE])
    assert "the source is (None, None, None, 3); build the model with a fixed input size" in result.refused[0].reason
