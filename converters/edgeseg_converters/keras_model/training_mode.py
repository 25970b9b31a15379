"""Run a user's model without changing it, and warn of layers that it puts into training mode.

A layer in training mode writes: batch normalization its statistics, dropout its seed, into variables that every model
made of the same layers shares. ``training=True`` in a functional model's graph does nothing in ``predict``, for Keras
overrules it there; in the code of a user's layer it takes effect wherever the layer runs.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from edgeseg_converters.keras_model.graph import Graph

_log = logging.getLogger(__name__)


@contextmanager
def untouched(model: keras.Model) -> Iterator[None]:
    """Restore the variables that no training step sets after a layer wrote into them, and warn of the layer.

    Args:
        model: run within the block, as may be models that share its variables.
    """
    before = [(variable, np.array(keras.ops.convert_to_numpy(variable))) for variable in model.non_trainable_variables]
    try:
        yield
    finally:
        written = [(v, array) for v, array in before if not np.array_equal(keras.ops.convert_to_numpy(v), array)]
        for variable, array in written:
            variable.assign(array)
        if written:
            _log.warning(
                "a layer's own code runs in training mode, in the artifact too: it wrote %s, which were restored",
                ", ".join(f"'{variable.path}'" for variable, _ in written),
            )


def note_training(graph: Graph) -> None:
    """Warn of layers called with ``training=True`` in the graph, which inference overrules.

    Layers where that is the default, such as Resizing and augmentations, are skipped: the user did not ask for it.
    """
    nodes = [node for node in graph.nodes if node.kwargs.get("training") is True]
    names = dict.fromkeys(f"'{node.name}'" for node in nodes if not _trains_by_default(node.operation))
    if names:
        _log.warning(
            "%s: called with training=True; the artifact is the model in inference mode, as predict runs it",
            ", ".join(names),
        )


def _trains_by_default(operation: Any) -> bool:
    training = inspect.signature(operation.call).parameters.get("training")
    return training is not None and training.default is True
