"""Prepare batch norm for export: recompute its statistics, and check that they fit the weights.

The moving averages lag behind the weights, and belong to the weights of training, not to their moving average: in
inference mode a model may be far worse than its training loss promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from edgeseg.models.clone import paired_layers

_BatchNorm = keras.layers.BatchNormalization
_DROPOUT = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianDropout)


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return every batch norm of a model, those inside nested models too."""
    return [layer for layer in layers_of(model) if isinstance(layer, _BatchNorm)]


def set_momentum(model: keras.Model, momentum: float) -> None:
    """Set the momentum of the moving averages of every batch norm, in [0, 1); before the model is compiled."""
    for layer in batch_norms(model):
        layer.momentum = momentum


def recalibrate(model: keras.Model, inputs: Iterable[Any], *, like: keras.Model | None = None) -> None:
    """Replace the moving statistics by the means over some images of what each batch norm sees, dropout off.

    The precise batch norm of Wu and Johnson 2021 ("Rethinking 'Batch' in BatchNorm", section 3), with plain means of
    the batches' means and variances.

    Args:
        model: changed in place; batch norms with ``trainable = False`` keep their statistics.
        inputs: batches as the model takes them, of equal size; without any the model is not changed.
        like: a model of the same layers; what is frozen there keeps its statistics too.
    """
    pairs = paired_layers(model, like or model)
    frozen = [own for own, other in pairs if isinstance(own, _BatchNorm) and not other.trainable]
    with _learning_statistics(model) as layers, _put_back(frozen, "trainable"):
        for layer in frozen:
            layer.trainable = False
        for count, batch in enumerate(inputs):
            for layer in layers:
                layer.momentum = count / (count + 1)  # makes the moving average the mean of all batches so far
            model(batch, training=True)


def training_mode(model: keras.Model, inputs: Any) -> Any:
    """Run a model with the batch's own statistics, dropout off; its moving statistics do not change.

    Args:
        model: not changed.
        inputs: one batch.
    """
    with _learning_statistics(model) as layers:
        for layer in layers:
            layer.momentum = 1.0
        return model(inputs, training=True)


@contextmanager
def _learning_statistics(model: keras.Model) -> Iterator[list[keras.layers.BatchNormalization]]:
    """Yield the batch norms of a model whose dropout is off in the block; restore their momentum afterwards."""
    layers = batch_norms(model)
    dropouts = [layer for layer in layers_of(model) if isinstance(layer, _DROPOUT)]
    with _put_back(layers, "momentum"), _put_back(dropouts, "rate"):
        for layer in dropouts:
            layer.rate = 0.0
        yield layers


@contextmanager
def _put_back(layers: Sequence[keras.layers.Layer], attribute: str) -> Iterator[None]:
    """Restore an attribute that the block may change."""
    before = [getattr(layer, attribute) for layer in layers]
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            setattr(layer, attribute, value)


def layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield every layer of a model, a nested model before the layers in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
