"""Find the layers of a model that are its encoder."""

from __future__ import annotations

import keras

from edgeseg.errors import InputError, did_you_mean
from edgeseg.models.keras_internals import layers_within
from edgeseg.models.zoo.table import ZOO


def encoder_layers(model: keras.Model, first_of_decoder: str | None = None) -> list[keras.layers.Layer]:
    """Return the layers with weights that the decoder's first layer is computed from, a nested model before its own.

    Args:
        model: a functional model.
        first_of_decoder: that layer's name; known for the zoo.

    Raises:
        InputError: there is no such layer, it has none before it, or no name was given for a model that is not of the
            zoo.
    """
    known = ZOO.get(model.name)
    name = first_of_decoder or (known.first_of_decoder if known else None)
    if name is None:
        raise InputError(
            f"which layers of '{model.name}' are the encoder is not known; name the first one after it: "
            "`freeze_before='LAYER'`."
        )
    names = [layer.name for layer in model.layers]
    if name not in names:
        raise InputError(f"the model has no layer '{name}' to freeze before.{did_you_mean(name, names)}")
    before = layers_within(keras.Model(model.inputs, model.get_layer(name).input))[1:]
    layers = [layer for layer in before if layer.weights]
    if not layers:
        raise InputError(f"no layer before '{name}' has weights; there is nothing to freeze.")
    return layers
