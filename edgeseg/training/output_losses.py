"""Give each output of a model its loss: from the settings of a run, or from what the caller of ``train`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from edgeseg._internal.text import counted
from edgeseg.datasets import LabeledSplit
from edgeseg.errors import InputError, did_you_mean
from edgeseg.models.keras_graph import graph_of, output_names
from edgeseg.models.keras_internals import outputs_structure
from edgeseg.training.building import RunModels
from edgeseg.training.config import TrainConfig
from edgeseg.training.loss_names import loss_kind, require_channels
from edgeseg.training.objective.class_weights import given, median_frequency, sqrt_median_frequency
from edgeseg.training.objective.losses import ClassWeights, Dice, Focal, SegmentationLoss


@dataclass(frozen=True, kw_only=True)
class OutputLosses:
    """The losses of a run.

    Attributes:
        compiled: as Keras' ``compile`` takes them.
        weights: of the outputs, likewise; ``None`` where all are 1.
        main: that of the output that is validated.
    """

    compiled: Any
    weights: Any
    main: Any

    @classmethod
    def of(cls, config: TrainConfig, models: RunModels, data: LabeledSplit | None, loss: Any = None) -> OutputLosses:
        """Make the losses.

        Args:
            config: the run; what it says of the loss holds for every loss that is given by name.
            models: of the run.
            data: the training split, for class weights by frequency; they are omitted without it.
            loss: as Keras' ``compile`` takes it, in place of the config's: a name, an object or a function, or those of
                several outputs by their names or in their order.

        Raises:
            InputError: there is no such output or loss, or there is none for the output that is validated.
        """
        structure = outputs_structure(graph_of(models.learning))
        chosen = config.loss if loss is None else loss
        losses = _by_output(chosen, models, _Maker(config, models, data))
        main = output_names(models.twin)[models.main_output]
        if losses[main] is None:
            raise InputError(
                f"the output '{main}' is what is validated and exported, and there is no loss for it; give one."
            )
        return cls(
            compiled=keras.tree.pack_sequence_as(structure, list(losses.values())),
            weights=_weights(config, structure, losses),
            main=losses[main],
        )


class _Maker:
    """Makes the losses that are given by name; the labels are counted at most once.

    Args:
        config: the run.
        models: of the run.
        data: see ``OutputLosses.of``.
    """

    def __init__(self, config: TrainConfig, models: RunModels, data: LabeledSplit | None) -> None:
        self._config, self._models, self._data = config, models, data
        self._weights: ClassWeights | None = None
        self._counted = False

    def __call__(self, loss: Any, output: str, channels: int) -> Any:
        if not isinstance(loss, str):
            return loss
        config = self._config
        require_channels(loss, channels, output)
        return SegmentationLoss(
            loss_kind(loss),
            class_weights=self._class_weights(),
            label_smoothing=config.label_smoothing,
            probability_clip=config.probability_clip,
            focal=Focal(alpha=config.focal_alpha, gamma=config.focal_gamma),
            dice=Dice(beta=config.dice_beta, smooth=config.dice_smooth),
        )

    def _class_weights(self) -> ClassWeights | None:
        if not self._counted:
            self._weights, self._counted = self._count(), True
        return self._weights

    def _count(self) -> ClassWeights | None:
        chosen, data = self._config.class_weights, self._data
        if not isinstance(chosen, str):
            values = given(chosen, self._models.spec.class_names)
        elif chosen == "none" or data is None:
            return None
        else:
            by_frequency = {"median-frequency": median_frequency, "sqrt-median-frequency": sqrt_median_frequency}
            values = by_frequency[chosen](data)
        return ClassWeights(values.tolist(), self._config.class_weight_normalization)


def _by_output(chosen: Any, models: RunModels, make: _Maker) -> dict[str, Any]:
    """Return a loss for each output by its name; ``None`` for an output without."""
    channels = dict(zip(output_names(models.twin), (x.shape[-1] for x in models.twin.outputs), strict=True))
    given: Mapping[str, Any]
    if isinstance(chosen, Mapping) and len(keras.tree.flatten(chosen)) == len(chosen):
        _require_outputs("a loss is", chosen, channels)
        given = {name: chosen.get(name) for name in channels}
    elif isinstance(chosen, Mapping | list | tuple):
        leaves = keras.tree.flatten(chosen)
        if len(leaves) != len(channels):
            raise InputError(
                f"{len(leaves)} losses for the outputs {', '.join(channels)}; give one for each, or by name."
            )
        given = dict(zip(channels, leaves, strict=True))
    else:
        given = dict.fromkeys(channels, chosen)
    return {name: make(loss, name, channels[name]) for name, loss in given.items()}


def _weights(config: TrainConfig, structure: Any, losses: Mapping[str, Any]) -> Any:
    """Return ``config.output_weights`` in the structure of the model's outputs."""
    weights = config.output_weights
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        _require_outputs("an output weight is", weights, losses)
        for name in weights:
            if losses[name] is None:
                raise InputError(f"the output weight of '{name}' does nothing, as there is no loss for it.")
        weights = tuple(weights.get(name, 1.0) for name in losses)
    if len(weights) != len(losses):
        raise InputError(f"{counted(len(weights), 'output weight')} for a model with {counted(len(losses), 'output')}.")
    return keras.tree.pack_sequence_as(structure, list(weights))


def _require_outputs(what: str, named: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    for name in named:
        if name not in outputs:
            raise InputError(
                f"{what} given for the output '{name}'; the model has {', '.join(outputs)}."
                f"{did_you_mean(name, outputs)}"
            )
