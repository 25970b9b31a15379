from __future__ import annotations

import keras
import pytest

from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.encoders.layers import encoder_layers


def test_the_encoder_is_what_the_decoder_is_computed_from() -> None:
    names = [layer.name for layer in encoder_layers(create("unet_mini", num_classes=2, input_size=(16, 16)))]
    assert names == [f"conv2d_{number}" for number in range(1, 7)]


def test_the_layers_of_a_nested_encoder_are_named_one_by_one() -> None:
    """Their own ``trainable`` is put back after the frozen phase, which setting the nested model's would overwrite."""
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="inner")(inputs), name="backbone")
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="head")(backbone(inputs)))
    assert [layer.name for layer in encoder_layers(model, "head")] == ["backbone", "inner"]


def test_a_layer_to_freeze_before_that_is_not_there_is_refused() -> None:
    model = create("unet_mini", num_classes=2, input_size=(16, 16))
    with pytest.raises(InputError, match=r"no layer 'conv2d_77' to freeze before. Did you mean 'conv2d_7'"):
        encoder_layers(model, "conv2d_77")
    with pytest.raises(InputError, match="nothing to freeze"):
        encoder_layers(model, "conv2d_1")
