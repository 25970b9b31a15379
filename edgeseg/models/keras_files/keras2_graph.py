"""Build a model from the config of Keras 2, whose record of calls Keras 3 reads only in part.

    Given                                             Result
    [["conv", 0, 0, {"skip": ["pool", 1, 0]}]]        conv(<output>, skip=<output>): tensors by keyword are tensors
    calls of a nested model, counted from 1           its first call is its first
    ["_CONSTANT_VALUE", -1, 1.0, {...}]               the constant
    TFOpLambda, SlicingOpLambda                       the operation of ``keras.ops``, see ``tensorflow_ops``

A layer is called once all that it takes is there, in whatever order the file lists the layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from edgeseg.errors import InputError
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_files import tensorflow_ops
from edgeseg.models.weights.hdf5 import split_number

_CONSTANT = "_CONSTANT_VALUE"
_MODELS = {"Functional": keras.Model, "Model": keras.Model, "Sequential": keras.Sequential}
_LARGEST_NUMBER = 10_000  # in a layer's name: a file with more would only take time
_ELLIPSIS = {"class_name": "__ellipsis__"}
_Waiting = tuple[str, int, Any]  # a layer, the number of its call, and the record of it


def build_model(root: dict[str, Any], objects: Mapping[str, Any]) -> keras.Model:
    """Build the architecture of a model, with random weights.

    Args:
        root: a config that ``keras2.to_keras3`` has translated, without Lambdas and unknown names.
        objects: classes and functions by the names in the config.

    Raises:
        InputError: a TensorFlow function is called in a way that has no counterpart.
        ValueError: the record of calls does not fit together.
    """
    config, own = root["config"], objects.get(root["class_name"])
    if own is not None and not _is_keras_own(own.from_config):
        model: keras.Model = own.from_config(config)
        return model
    model_class = own or _MODELS[root["class_name"]]
    if issubclass(model_class, keras.Sequential):
        model = model_class([_layer(inner, objects) for inner in config["layers"]], name=config.get("name"))
        if not model.built and config.get("build_input_shape"):
            model.build(config["build_input_shape"])
        return model
    graph = Graph(config, objects)
    inputs, outputs = graph.tensors(config["input_layers"]), graph.tensors(config["output_layers"])
    model = model_class(inputs=inputs, outputs=outputs, name=config.get("name"))
    if config.get("trainable") is False:
        model.trainable = False
    return model


def _is_keras_own(method: Any) -> bool:
    return str(getattr(method, "__module__", "")).split(".")[0] == "keras"


def is_model(layer: Any) -> bool:
    """Return whether a layer of a config is a model, which has layers."""
    config = layer.get("config") if isinstance(layer, dict) else None
    return isinstance(config, dict) and isinstance(config.get("layers"), list)


def _layer(entry: dict[str, Any], objects: Mapping[str, Any]) -> keras.Layer:
    name, config = entry["class_name"], dict(entry["config"])
    if is_model(entry) and (name in _MODELS or issubclass(objects.get(name, object), keras.Model)):
        return build_model(entry, objects)
    wrapped = config.get("layer")
    if isinstance(wrapped, dict) and is_model(wrapped):
        inner = build_model(wrapped, objects)

        class Built:  # Keras takes the layer inside another one as a config
            @staticmethod
            def from_config(config: dict[str, Any]) -> keras.Model:
                return inner

        key = f"{config['name']}/layer"
        config["layer"] = {"module": None, "class_name": "Built", "config": {}, "registered_name": key}
        objects = {**objects, key: Built}
    shape = config.pop("batch_input_shape", None)
    if shape is not None:
        config["batch_shape"] = shape
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]
    module = "keras.layers" if name not in objects and hasattr(keras.layers, name) else None
    plain = {"module": module, "class_name": name, "config": config, "registered_name": name}
    layer: keras.Layer = keras.layers.deserialize(plain, dict(objects))
    return layer


class Graph:
    """The calls in the config of a functional model, made one after the other.

    Args:
        config: of the model, translated.
        objects: classes and functions by the names in the config.
    """

    def __init__(self, config: dict[str, Any], objects: Mapping[str, Any]) -> None:
        entries = {str(entry.get("name") or entry["config"]["name"]): entry for entry in config["layers"]}
        _reserve([str(entry["config"].get("name")) for entry in entries.values()])
        self._entries = entries
        self._first = {name: int(is_model(entry)) for name, entry in entries.items()}
        # By the names in the file; None for TensorFlow's functions, which are no layers here.
        self._made: dict[str, keras.Layer | None] = {}
        self._values: dict[tuple[str, int], list[Any]] = {}  # by layer and number of the call
        waiting: list[_Waiting] = []
        for name, entry in entries.items():
            is_op = entry["class_name"] in tensorflow_ops.CLASSES and entry["class_name"] not in objects
            layer = self._made[name] = None if is_op else self._make(name, entry, objects)
            nodes = entry.get("inbound_nodes") or []
            if isinstance(layer, keras.layers.InputLayer):
                self._values[name, 0] = [layer.output]
                nodes = []
            waiting += [(name, number, node) for number, node in enumerate(nodes)]
        while waiting:
            later = []
            for call in waiting:
                if self._ready(call):
                    self._values[call[0], call[1]] = self._call(call[0], call[2])
                else:
                    later.append(call)
            waiting = self._stuck(waiting) if len(later) == len(waiting) else later

    def tensors(self, structure: Any) -> Any:
        """Return the tensors of ``input_layers`` or ``output_layers``; a list of one is the tensor."""
        value = tensorflow_ops.plain(self._resolve(structure))
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    def _make(self, name: str, entry: dict[str, Any], objects: Mapping[str, Any]) -> keras.Layer | None:
        return _layer(entry, objects)

    def _stuck(self, waiting: list[_Waiting]) -> list[_Waiting]:
        """Return the calls that still wait; here none of them can be made, so the config is wrong."""
        raise ValueError(f"its layers are not connected: '{waiting[0][0]}' waits for what no layer returns")

    def _ready(self, call: _Waiting) -> bool:
        return all(self._key(reference) in self._values for reference in self._references(call[2]))

    def _call(self, name: str, node: Any) -> list[Any]:
        """Make one call, and return its outputs."""
        args, kwargs = self._arguments(node)
        layer = self._made[name]
        if layer is None:
            result = self._call_tensorflow(self._entries[name]["config"], args, kwargs)
            return result if isinstance(result, list) else [result]
        if not _tensors(args):  # a constant first, as in 2 * x: layers take tensors there
            met = _tensors(list(kwargs.values()))
            args = [np.asarray(tensorflow_ops.plain(args[0]), met[0].dtype if met else None)]
        parameters = inspect.signature(layer.call).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        # Keras 2 records arguments of its own that are not used, such as mask=None.
        kwargs = {k: value for k, value in kwargs.items() if value is not None or k in parameters or takes_any}
        outputs = layer(*map(tensorflow_ops.plain, args), **{k: tensorflow_ops.plain(x) for k, x in kwargs.items()})
        return list(keras.tree.flatten(outputs))

    def _call_tensorflow(self, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        symbol, name = str(config["function"]), str(config["name"])
        try:
            return tensorflow_ops.call(symbol, args, kwargs, name=name)
        except (tensorflow_ops.UnreadableOp, TypeError) as error:
            raise InputError(
                f"the layer '{name}' calls tf.{symbol} in a way that edgeseg does not read: {reason_of(error)}. Give "
                f"the code: `custom_objects={{'tf.{symbol}': tf.{symbol}}}`, after `import tensorflow as tf`."
            ) from error

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of one call: the first by its place, the others by their names."""
        *_, last = leaves(node)  # every tensor of the first argument has the other arguments beside it
        kwargs = last[3] if len(last) > 3 else {}
        first = self._resolve(node)
        if isinstance(first, list) and len(first) == 1 and not _is_leaf(node):
            first = first[0]
        return [first], {key: self._resolve(value) for key, value in kwargs.items()}

    def _resolve(self, value: Any) -> Any:
        """Return an argument of a call with the tensors in place of the references to them, at any depth."""
        if _is_leaf(value):
            if value[0] == _CONSTANT:
                return value[2]
            if value[0] in self._made:
                return self._values[self._key(value)][value[2]]
        if isinstance(value, list):
            return [self._resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"start", "stop", "step"}:
            return slice(*(self._resolve(value[part]) for part in ("start", "stop", "step")))
        if value.items() >= _ELLIPSIS.items():
            return ...
        return {key: self._resolve(item) for key, item in value.items()}

    def _references(self, value: Any) -> Iterator[list[Any]]:
        """Yield every reference to a tensor in the record of a call."""
        if _is_leaf(value):
            if value[0] in self._made:
                yield value
            value = value[3:]
        if isinstance(value, list | dict):
            for item in value.values() if isinstance(value, dict) else value:
                yield from self._references(item)

    def _key(self, reference: list[Any]) -> tuple[str, int]:
        # For Keras 2, building a nested model is its first call; some versions wrote 0 all the same.
        return reference[0], max(reference[1] - self._first[reference[0]], 0)


def _tensors(arguments: Any) -> list[keras.KerasTensor]:
    return [value for value in keras.tree.flatten(arguments) if isinstance(value, keras.KerasTensor)]


def _is_leaf(value: Any) -> bool:
    """Return whether a value is ``[layer, call, output]``, maybe followed by the call's other arguments."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and type(value[1]) is int
        and (value[0] == _CONSTANT or type(value[2]) is int)
    )


def leaves(node: Any) -> Iterator[list[Any]]:
    """Yield every ``[layer, call, output, ...]`` in the record of a call, but not those in its keyword arguments."""
    if _is_leaf(node):
        yield node
    elif isinstance(node, list | dict):
        for item in node.values() if isinstance(node, dict) else node:
            yield from leaves(item)


def _reserve(names: list[str]) -> None:
    """Make Keras skip the names that a file's layers have: it names operations ``add``, ``add_1``, ... by itself."""
    largest: dict[str, int] = {}
    for name in names:
        base, number = split_number(name)
        for prefix, used in ((base, number or 0), (name, 0)):
            if used <= _LARGEST_NUMBER:
                largest[prefix] = max(largest.get(prefix, 0), used)
    for prefix, used in largest.items():
        while keras.backend.get_uid(prefix) <= used:
            pass
