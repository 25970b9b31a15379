"""Rebuild mixed-precision models in float32: neither TFLite nor an ``fp32`` file has Keras' float16 in the middle.

A policy like ``mixed_float16`` keeps its variables in float32 and casts them where they are used, so the layers only
need another policy. The recipe decides about the precision of an artifact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from edgeseg.errors import UnsupportedModel
from edgeseg.models.clone import copy_layer_weights, own_classes
from edgeseg.models.keras_graph import finalize, graph_of, twin
from edgeseg.models.keras_internals import layers_within, replace_dtype_policy
from edgeseg_converters.keras_model.graph import Graph, Node, Value

_HALF = ("float16", "bfloat16")


@contextmanager
def float32_policy() -> Iterator[None]:
    """Let layers that are created in the block compute in float32, whatever policy the user trains with."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(model: keras.Model, graph: Graph) -> Graph:
    """Return the graph with all layers computing in float32; the given graph where they already do.

    Args:
        model: functional, with nested models or without.
        graph: of the model; its layers are not changed.

    Returns:
        A graph of layers that hold the variables of the old ones; layers made of layers have copies instead.

    Raises:
        UnsupportedModel: a layer cannot be rebuilt with another policy.
    """
    if not _is_half(model) and not any(tensor.dtype in _HALF for tensor in model.inputs):
        return graph
    changed: dict[int, Any] = {}
    for node in graph.nodes:
        if id(node.operation) not in changed:
            changed[id(node.operation)] = _changed(node)
    return graph.with_operations(changed, {value: _full(value.dtype) for value in graph.inputs})


def _is_half(layer: keras.Layer) -> bool:
    return any(_computes_half(inner) for inner in layers_within(layer))


def _computes_half(layer: keras.Layer) -> bool:
    # A layer that only holds layers or tensors has the policy of the day, and computes nothing.
    is_holder = graph_of(layer) is not None or isinstance(layer, keras.layers.InputLayer)
    return not is_holder and layer.compute_dtype in _HALF


def _changed(node: Node) -> Any:
    layer = node.operation
    if not isinstance(layer, keras.Layer) or not _is_half(layer):
        return layer
    is_simple = len(layers_within(layer)) == 1 and layer.quantization_mode is None
    keeps_copies = hasattr(layer, "finalize_state")  # Normalization, of its statistics in half precision
    if is_simple and not keeps_copies and all(variable.dtype not in _HALF for variable in layer.variables):
        copy = twin(layer)
        replace_dtype_policy(copy, keras.DTypePolicy("float32"))
        return copy
    return _made_again(node)


def _made_again(node: Node) -> Any:
    """Rebuild a layer made of layers from its config, as its parts take their policies from where they are created."""
    layer = node.operation
    try:
        with float32_policy(), own_classes(layer):
            rebuilt = type(layer).from_config(_without_half(layer.get_config()))
        new_node = dataclasses.replace(node, operation=rebuilt)
        new_node({value: _symbol(value) for value in node.inputs})  # this builds the layer
        copy_layer_weights(layer, rebuilt)
        finalize(rebuilt)
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        raise _refusal(layer, " ".join(str(error).split())[:200]) from error
    left = next((inner for inner in layers_within(rebuilt) if _computes_half(inner)), None)
    if left is not None:
        raise _refusal(layer, f"'{left.name}' in it stays in {left.compute_dtype}")
    return rebuilt


def _symbol(value: Value) -> keras.KerasTensor:
    return keras.KerasTensor(value.shape, _full(value.dtype))


def _full(dtype: str) -> str:
    return "float32" if dtype in _HALF else dtype


def _without_half(config: Any) -> Any:
    """Return a config with float32 in place of every half-precision policy, in layers within layers too."""
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and _names_half(value) else _without_half(value)
            for key, value in config.items()
        }
    return [_without_half(item) for item in config] if isinstance(config, list) else config


def _names_half(policy: Any) -> bool:
    name = policy["config"].get("name") if isinstance(policy, dict) and "config" in policy else policy
    return name in (*_HALF, *(f"mixed_{kind}" for kind in _HALF))


def _refusal(layer: keras.Layer, reason: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"'{layer.name}' ({type(layer).__name__}) computes in {layer.compute_dtype} and cannot be rebuilt in "
        f"float32: {reason}. Build the model under keras.config.set_dtype_policy('float32') and load its weights."
    )
