"""Read what is computed, operation by operation, from a model or from the config in a model file.

Both come in one form, so that they can be compared. Nothing of a file is deserialized, except for layers of Keras and
of this project, one by one: a Lambda stays a name.
"""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from edgeseg.models.architecture.settings import Settings, is_sequential, settings_of
from edgeseg.models.keras_graph import graph_of
from edgeseg.models.keras_internals import Call, calls_of
from edgeseg.models.weights.variables import kind_of

#: Layer, call, output: the address of a tensor in a config.
_Address = tuple[str, int, int]
_Shape = tuple[int | None, ...] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """One call of a layer or of an operation of ``keras.ops``.

    Attributes:
        name: of the layer, after that of the nested model it is in (``encoder/conv``).
        settings: what it computes.
        inputs: the operations whose output it takes, in order; empty for an input of the model.
        input_shape: of its first input, where that is known.
        output_shape: of its first output, likewise.
    """

    name: str
    settings: Settings
    inputs: tuple[Operation, ...] = ()
    input_shape: _Shape = None
    output_shape: _Shape = None

    @property
    def kind(self) -> str:
        """What it is: a class of Keras, or a word for several that compute the same."""
        return self.settings.kind


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What a model computes.

    Attributes:
        all: every operation, each after those that it takes its input from.
        outputs: those that make the outputs.
        weighted: names of the layers that have weights; of a config they are not known before its weights are read.
        aliases: the names by which a weights file may call a layer, to its name here.
    """

    all: tuple[Operation, ...]
    outputs: tuple[Operation, ...]
    weighted: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)


def operations_of_model(model: keras.Model) -> Operations | None:
    """Return the operations of a functional or Sequential model; ``None`` for any other."""
    graph = graph_of(model)
    if graph is None:
        return None
    made: dict[int, Operation] = {}
    weighted: set[str] = set()
    found = tuple(_of_graph(graph, "", made, weighted))
    outputs = tuple(made[id(tensor)] for tensor in graph.outputs)
    return Operations(all=found, outputs=outputs, weighted=frozenset(weighted))


def _of_graph(graph: Any, prefix: str, made: dict[int, Operation], weighted: set[str]) -> Iterator[Operation]:
    """Yield the operations of a graph, nested models by their layers; ``made`` says which made a tensor."""
    for call in _in_order(calls_of(graph)):
        inner = graph_of(call.operation)
        if inner is None:
            if getattr(call.operation, "weights", ()):
                weighted.add(f"{prefix}{call.operation.name}")
            for operation in _of_call(call, prefix, made):
                yield operation
                made.update({id(tensor): operation for tensor in call.outputs})
            continue
        inside = {id(own): made[id(given)] for own, given in zip(inner.inputs, call.inputs, strict=True)}
        yield from _of_graph(inner, f"{prefix}{call.operation.name}/", inside, weighted)
        for outer, own in zip(call.outputs, inner.outputs, strict=True):
            made[id(outer)] = inside[id(own)]


def _in_order(calls: Sequence[Call]) -> list[Call]:
    """Return calls, each after those that it takes its input from."""
    makers = {id(tensor): index for index, call in enumerate(calls) for tensor in call.outputs}
    sources = {
        index: [makers[id(tensor)] for tensor in call.inputs if id(tensor) in makers]
        for index, call in enumerate(calls)
    }
    return [calls[index] for index in graphlib.TopologicalSorter(sources).static_order()]


def _of_call(call: Call, prefix: str, made: Mapping[int, Operation]) -> Iterator[Operation]:
    layer = call.operation
    if not call.inputs:
        known = next((made[id(tensor)] for tensor in call.outputs if id(tensor) in made), None)
        if known is not None:  # an input of a nested model, which is a tensor of the outer one
            return
    config = layer.get_config() if isinstance(layer, keras.Layer) else {}
    training = call.kwargs.get("training") is True
    yield from _expanded(
        f"{prefix}{layer.name}",
        settings_of(type(layer).__name__, config, training=training),
        tuple(made[id(tensor)] for tensor in call.inputs),
        tuple(call.inputs[0].shape) if call.inputs else None,
        tuple(call.outputs[0].shape),
    )


def _expanded(
    name: str,
    settings: Sequence[Settings],
    inputs: tuple[Operation, ...],
    input_shape: _Shape = None,
    output_shape: _Shape = None,
) -> Iterator[Operation]:
    """Yield a layer, and its activation as an operation of its own."""
    first, *rest = settings
    operation = Operation(name=name, settings=first, inputs=inputs, input_shape=input_shape, output_shape=output_shape)
    yield operation
    for each in rest:
        operation = Operation(
            name=name, settings=each, inputs=(operation,), input_shape=output_shape, output_shape=output_shape
        )
        yield operation


# --- from a config ---


def operations_of_config(root: dict[str, Any]) -> Operations | None:
    """Return the operations that the config of a model file describes; ``None`` for another than a graph of layers.

    Args:
        root: ``ModelConfig.root``, of Keras 3 or translated by ``to_keras3``; it is not changed.
    """
    reader = _ConfigReader()
    config = root.get("config")
    if not isinstance(config, dict) or "layers" not in config:
        return None
    outputs = reader.read(root, "", None)
    if outputs is None:
        return None
    return Operations(all=tuple(reader.operations), outputs=tuple(outputs), aliases=reader.aliases)


class _ConfigReader:
    """Collects the operations of a config, those of nested models in place of them."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.aliases: dict[str, str] = {}

    def read(self, model: dict[str, Any], prefix: str, given: Sequence[Operation] | None) -> list[Operation] | None:
        """Add the operations of a model; return those of its outputs, ``None`` where they cannot be told.

        Args:
            model: its config.
            prefix: what every name begins with.
            given: the operations that a nested model is called on; ``None`` for the model of the file.
        """
        config = model["config"]
        layers = [layer for layer in config["layers"] if isinstance(layer, dict)]
        self._add_aliases(layers, prefix)
        if is_sequential(model):
            return self._read_chain(layers, prefix, given)
        made: dict[_Address, Operation] = {}
        first = {_name(layer): 1 for layer in layers if _is_model(layer) and _is_keras2(layer)}

        def counted(addresses: Iterable[_Address]) -> list[_Address]:
            # For Keras 2, building a nested model is its first call; some versions wrote 0 all the same.
            return [(name, max(call - first.get(name, 0), 0), output) for name, call, output in addresses]

        inputs = _addresses(config.get("input_layers"))
        if given is not None:
            if len(given) != len(inputs):
                return None
            made.update(zip(inputs, given, strict=True))
        pending = [(layer, number, node) for layer in layers for number, node in enumerate(_nodes(layer))]
        while pending:
            waiting = []
            for layer, number, node in pending:
                addresses, training = _tensors(node)
                tensors = counted(addresses)
                if (_name(layer), number, 0) in made and not tensors:
                    continue
                if any(tensor not in made for tensor in tensors):
                    waiting.append((layer, number, node))
                elif not self._call(layer, number, [made[tensor] for tensor in tensors], training, prefix, made):
                    return None
            if len(waiting) == len(pending):
                return None  # it refers to what it does not have
            pending = waiting
        outputs = [address for address in counted(_addresses(config.get("output_layers"))) if address in made]
        return [made[address] for address in outputs] or None

    def _call(
        self,
        layer: dict[str, Any],
        number: int,
        inputs: list[Operation],
        training: bool,
        prefix: str,
        made: dict[_Address, Operation],
    ) -> bool:
        name = _name(layer)
        if _is_model(layer):
            outputs = self.read(layer, f"{prefix}{name}/", inputs)
            if outputs is None:
                return False
            made.update({(name, number, index): output for index, output in enumerate(outputs)})
            return True
        operation = self._add(layer, inputs, training, prefix)
        # A layer may have any number of outputs; a config names only those that are used.
        made.update({(name, number, index): operation for index in range(_MOST_OUTPUTS)})
        return True

    def _add(self, layer: dict[str, Any], inputs: list[Operation], training: bool, prefix: str) -> Operation:
        settings = settings_of(str(layer.get("class_name")), layer.get("config") or {}, training=training)
        self.operations += _expanded(f"{prefix}{_name(layer)}", settings, tuple(inputs))
        return self.operations[-1]

    def _read_chain(
        self, layers: list[dict[str, Any]], prefix: str, given: Sequence[Operation] | None
    ) -> list[Operation] | None:
        """Add the layers of a Sequential model, each called on the one before it."""
        last = list(given or ())
        if not last:
            begins = bool(layers) and layers[0].get("class_name") == "InputLayer"
            last = [self._add({"class_name": "InputLayer", "config": {"name": "input"}}, [], False, prefix)]
            layers = layers[1:] if begins else layers
        for layer in layers:
            if layer.get("class_name") == "InputLayer":
                continue
            made: dict[_Address, Operation] = {}
            if not self._call(layer, 0, last, False, prefix, made):
                return None
            last = [made[_name(layer), 0, 0]]
        return last

    def _add_aliases(self, layers: Iterable[dict[str, Any]], prefix: str) -> None:
        """Add the addresses of layers in Keras 3's weights files, ``layers/conv2d_1``."""
        counts: Counter[str] = Counter()
        # A nested model is addressed by name where the file has it, else by class: both begin its layers' addresses.
        outer = [alias for alias, name in self.aliases.items() if f"{name}/" == prefix]
        for layer in layers:
            kind = kind_of(str(layer.get("class_name")).rpartition(">")[2])
            place = f"layers/{kind}_{counts[kind]}" if counts[kind] else f"layers/{kind}"
            counts[kind] += 1
            name = f"{prefix}{_name(layer)}"
            for begin in [f"{each}/" for each in (*outer, prefix.rstrip("/"))] if prefix else [""]:
                self.aliases[f"{begin}{place}"] = name
            self.aliases[name] = name


#: Of a layer whose number of outputs the config does not say; Keras' own have at most three (an LSTM with its state).
_MOST_OUTPUTS = 8


def _name(layer: Mapping[str, Any]) -> str:
    config = layer.get("config")
    return str(layer.get("name") or (config.get("name") if isinstance(config, dict) else None))


def _is_model(layer: Mapping[str, Any]) -> bool:
    return isinstance(layer.get("config"), dict) and "layers" in layer["config"]


def _is_keras2(layer: Mapping[str, Any]) -> bool:
    """Return whether the calls of a layer are recorded in the form of Keras 2: lists, no dicts."""
    return all(isinstance(node, list) for node in _nodes(layer))


def _nodes(layer: Mapping[str, Any]) -> list[Any]:
    """Return the calls of a layer; an input has none in a config, and counts as one."""
    nodes = layer.get("inbound_nodes")
    return list(nodes) if isinstance(nodes, list) and nodes else [[]]


def _tensors(node: Any) -> tuple[list[_Address], bool]:
    """Return the tensors that a call takes, in either form of Keras, and whether it is in training mode."""
    found: list[_Address] = []
    training = False

    def visit(value: Any) -> None:
        nonlocal training
        if isinstance(value, list | tuple):
            if len(value) >= 3 and isinstance(value[0], str) and type(value[1]) is type(value[2]) is int:
                found.append((value[0], value[1], value[2]))  # Keras 2, with keyword arguments as the fourth
                value = value[3:]
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            if value.get("class_name") == "__keras_tensor__":
                name, call, output = value["config"]["keras_history"]
                found.append((str(name), int(call), int(output)))
                return
            training |= value.get("training") is True
            for key, item in value.items():
                if key != "mask":  # Keras adds it by itself
                    visit(item)

    visit(node)
    return found, training


def _addresses(value: Any) -> list[_Address]:
    """Return the inputs or outputs of a model, which a config has in a list, in a dict, or alone."""
    return _tensors(value)[0]
