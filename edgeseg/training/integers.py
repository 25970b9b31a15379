"""Make the models of a run learn in integers, from the ranges that they start with to the frozen batch norms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.models.clone import copy_weights
from edgeseg.models.keras_graph import output_names
from edgeseg.models.opening import ModelRequest, load_model
from edgeseg.training.building import RunModels
from edgeseg.training.config import TrainConfig, is_model_file
from edgeseg.training.logits import logits_clone
from edgeseg.training.quantization.network import FakeQuantized, calibrate
from edgeseg.training.quantization.scheme import Scheme

#: Training images by which the ranges start.
CALIBRATION_IMAGES = 32


def in_integers(
    config: TrainConfig, models: RunModels, *, custom_objects: Mapping[str, Any] | None = None
) -> RunModels:
    """Return the models of a run as they learn and are validated in integers.

    Args:
        config: the run, which has ``quantize``.
        models: in float.
        custom_objects: code that the teacher's file refers to.

    Raises:
        InputError: the teacher gives something else than the model.
        UnsupportedModel: a layer cannot be trained in integers; the text names it.
    """
    assert config.quantize is not None
    scheme = Scheme(config.quantize, config.quantize_for)
    teacher = None
    if config.teacher is not None:
        taught = _teacher(config.teacher, models.learning, custom_objects)
        teacher = (lambda images: taught(images, training=False)), config.teacher_weight
    image = models.spec.mean, models.spec.std
    name = output_names(models.twin)[models.main_output]
    learning = FakeQuantized(models.learning, scheme, image, teacher=teacher, name=name)
    validated = FakeQuantized(models.twin, scheme, image, name=name)
    twin = _alone(validated)
    return replace(models, learning=_alone(learning), twin=twin, exported=twin, quantized=validated)


def _alone(layer: FakeQuantized) -> keras.Model:
    """Return a functional model of the layer."""
    given = layer.network.inputs[0]
    images = keras.Input(batch_shape=given.shape, dtype=given.dtype)
    return keras.Model(images, layer(images), name=layer.network.name)


def _teacher(path: str, learning: keras.Model, custom_objects: Mapping[str, Any] | None) -> keras.Model:
    """Open the float model that is imitated, at the size of the training images."""
    size = (int(learning.inputs[0].shape[1]), int(learning.inputs[0].shape[2]))
    own_code = custom_objects if is_model_file(path) else None
    opened = load_model(path, ModelRequest(input_size=size, custom_objects=own_code)).model
    taught = logits_clone(opened, size, custom_objects=custom_objects)
    got, needed = (tuple(tuple(x.shape[1:]) for x in model.outputs) for model in (taught, learning))
    if got != needed:
        raise InputError(f"the teacher '{path}' gives maps {got[0]}, the model {needed[0]}; give one that is alike.")
    taught.trainable = False
    return taught


def start_ranges(models: RunModels, batches: Iterable[Any]) -> None:
    """Start the ranges of a new run from training images.

    Args:
        models: made by ``in_integers``.
        batches: of images as the exported model takes them.
    """
    assert models.quantized is not None
    copy_weights(models.learning, models.twin)
    calibrate(models.quantized, batches)
    copy_weights(models.twin, models.learning)


class FreezeBatchNorm(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no type information
    """Freezes the batch norms of a run in integers from an epoch on, so that they are what is folded.

    Args:
        model: what learns, made by ``in_integers``.
        epoch: epochs with the batch's own statistics.
    """

    def __init__(self, model: keras.Model, epoch: int) -> None:
        super().__init__()
        (self._layer,) = (layer for layer in model.layers if isinstance(layer, FakeQuantized))
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Freeze them where it is time; also in a run that is resumed."""
        self._layer.frozen.assign(1.0 if epoch >= self._epoch else 0.0)
