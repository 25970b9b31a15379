"""Reach the private names of Keras: the one door to them, for both packages.

Keras records in a functional model which layer was called on what, and offers no public way to read it. Every name
here was seen in Keras 3.15.1. Each has a test of its own in ``tests/edgeseg/models/test_keras_internals.py``, which
says where to look for the replacement when the name is gone; the same file checks that no other module uses one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """One recorded call of a layer, or of an operation of ``keras.ops``, on symbolic tensors.

    Attributes:
        operation: the layer or operation that was called; the same object in several calls where it is shared.
        args: its positional arguments, including the ``keras.KerasTensor`` objects.
        kwargs: its keyword arguments, likewise.
        inputs: the tensors among the arguments, in order; a tensor that is passed twice is listed twice.
        outputs: the tensors that it returned, in order.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def functional_inside(model: keras.Sequential) -> keras.Model | None:
    """Return the functional model that a Sequential one runs; ``None`` while it is not built.

    ``Sequential._functional``, seen in Keras 3.15.1. Publicly a Sequential model has ``inputs``, ``outputs`` and
    ``layers``, but not the recorded calls between them.
    """
    return model._functional


def is_functional(operation: Any) -> bool:
    """Return whether a layer is a functional model, which has recorded calls.

    ``Function._nodes_by_depth``, seen in Keras 3.15.1. ``keras.Model(inputs, outputs)`` makes an object of a class
    that Keras does not export, and ``isinstance(operation, keras.Model)`` is true of subclassed models too.
    """
    return hasattr(operation, "_nodes_by_depth")


def calls_of(model: keras.Model) -> list[Call]:
    """Return all calls in a functional model, each before those that made its inputs, a nested model as one call.

    ``Function._nodes_by_depth``, seen in Keras 3.15.1. ``keras.Function.operations`` has the operations, but not the
    tensors that they were called on.
    """
    return [_as_call(node) for _, nodes in sorted(model._nodes_by_depth.items()) for node in nodes]


def call_of(tensor: keras.KerasTensor) -> Call:
    """Return the call that made a symbolic tensor.

    ``KerasTensor._keras_history`` and ``Operation._inbound_nodes``, seen in Keras 3.15.1. ``layer.input`` and
    ``layer.output`` are public, but raise for a layer that was called twice, and do not have the other arguments.
    """
    history = tensor._keras_history
    return _as_call(history.operation._inbound_nodes[history.node_index])


def maker_of(tensor: keras.KerasTensor) -> Any:
    """Return the layer or operation that made a symbolic tensor, an ``InputLayer`` for an input.

    ``KerasTensor._keras_history``, seen in Keras 3.15.1. A tensor has no public name for it.
    """
    return tensor._keras_history.operation


def inputs_structure(model: keras.Model) -> Any:
    """Return the inputs of a functional model as they were given: a tensor, or lists and dicts of tensors.

    ``Function._inputs_struct``, seen in Keras 3.15.1. ``model.input`` and ``model.inputs`` are flat lists.
    """
    return model._inputs_struct


def outputs_structure(model: keras.Model) -> Any:
    """Return the outputs of a functional model as they were given: a tensor, or lists and dicts of tensors.

    ``Function._outputs_struct``, seen in Keras 3.15.1. ``model.output`` and ``model.outputs`` are flat lists.
    """
    return model._outputs_struct


def layers_within(layer: keras.Layer) -> list[keras.Layer]:
    """Return a layer and all layers in it at any depth, each once.

    ``Layer._flatten_layers``, seen in Keras 3.15.1. ``model.layers`` is of models only and one level deep; a layer
    that is made of layers has no public name for them.
    """
    return list(layer._flatten_layers())


def layers_directly_within(layer: keras.Layer) -> list[keras.Layer]:
    """Return the layers that a layer is made of, but not the layers inside those.

    ``Layer._flatten_layers``, see ``layers_within``.
    """
    return list(layer._flatten_layers(include_self=False, recursive=False))


def forget_calls(operation: Any) -> None:
    """Make a copied layer one that was never called, so that its calls are not written into the original layer.

    ``Operation._inbound_nodes`` and ``Operation._outbound_nodes``, seen in Keras 3.15.1. The public way to a copy,
    ``from_config``, makes new variables.

    Args:
        operation: changed in place; it shares both lists with the layer whose attributes it got.
    """
    # Around __setattr__, which tracks what it sees and is locked in a built layer.
    operation.__dict__.update(_inbound_nodes=[], _outbound_nodes=[])


def mark_dense(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """Return a symbolic tensor, which is dense after all.

    ``KerasTensor._sparse``, seen in Keras 3.15.1. ``keras.ops.multiply`` and ``matmul`` with a number or an array make
    a tensor that is called sparse, on which a layer without ``compute_output_shape`` cannot be called; the public
    ``sparse`` cannot be set.
    """
    tensor._sparse = False
    return tensor


def replace_dtype_policy(layer: keras.Layer, policy: keras.DTypePolicy) -> None:
    """Make a copied layer compute with another policy; the original layer keeps its own.

    ``Layer._dtype_policy``, seen in Keras 3.15.1. The public ``layer.dtype_policy = policy`` writes into a
    ``DTypePolicyMap`` where the layer has one, and the layer shares that map with the original.

    Args:
        layer: changed in place.
        policy: without quantization.
    """
    layer.__dict__["_dtype_policy"] = policy


def _as_call(node: Any) -> Call:
    """Convert Keras' own record of a call, of a class that it does not export."""
    return Call(
        operation=node.operation,
        args=node.arguments.args,
        kwargs=node.arguments.kwargs,
        inputs=tuple(node.input_tensors),
        outputs=tuple(node.outputs),
    )
