"""Divide a run into phases: with the encoder frozen, then with the whole model; or all of it in one of the two."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from edgeseg.errors import InputError, did_you_mean
from edgeseg.models.zoo.table import ZOO
from edgeseg.training.config import OPTIMIZER_DEFAULTS, TrainConfig
from edgeseg.training.objective.batch_norm import layers_of


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs that share an optimizer.

    Attributes:
        start: number of epochs before it.
        end: number of epochs when it is over.
        batch_size: images in a step.
        learning_rate: peak.
        frozen: whether the encoder is frozen.
    """

    start: int
    end: int
    batch_size: int
    learning_rate: float
    frozen: bool


def phases_of(config: TrainConfig) -> tuple[Phase, ...]:
    """Return the phases of a run, in order."""
    usual = config.learning_rate or OPTIMIZER_DEFAULTS[config.optimizer][0]

    def phase(start: int, end: int, batch_size: int, learning_rate: float, *, frozen: bool) -> Phase:
        scale = batch_size / config.nominal_batch_size if config.nominal_batch_size else 1.0
        return Phase(start=start, end=end, batch_size=batch_size, learning_rate=learning_rate * scale, frozen=frozen)

    end = config.num_freeze_epochs
    batch_size, rate = config.freeze_batch_size or config.batch_size, config.freeze_learning_rate or usual
    phases = (
        phase(0, end, batch_size, rate, frozen=True),
        phase(end, config.epochs, config.batch_size, usual, frozen=False),
    )
    return tuple(phase for phase in phases if phase.start < phase.end)


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
            "--freeze-before LAYER."
        )
    names = [layer.name for layer in model.layers]
    if name not in names:
        raise InputError(f"the model has no layer '{name}' to freeze before.{did_you_mean(name, names)}")
    before = layers_of(keras.Model(model.inputs, model.get_layer(name).input))
    layers = [layer for layer in before if layer.weights]
    if not layers:
        raise InputError(f"no layer before '{name}' has weights; there is nothing to freeze.")
    return layers
