"""Turn a functional Keras model into an ordered list of nodes, and back.

Nested functional models are flattened, shared layers stay shared, and names and weights are kept: the new model's
layers hold the same variables as the old one's. The model that a graph was read from is not changed.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
from keras import tree

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_graph import graph_of, takes_training, twin
from edgeseg.models.keras_internals import Call, call_of, inputs_structure, maker_of, outputs_structure

# TensorFlow's names of scopes at the root of a graph; it also lists the backslash, and refuses to run it.
_SCOPE_NAME = re.compile("[A-Za-z0-9.][A-Za-z0-9_./>-]*")


class Value:
    """A tensor in a graph: the output of one node or an input of the graph, read by any number of nodes.

    Attributes:
        shape: ``(B, H, W, C)`` or another; ``None`` where a side is not fixed.
        dtype: name of the dtype.
    """

    def __init__(self, shape: tuple[int | None, ...], dtype: str) -> None:
        self.shape = tuple(shape)
        self.dtype = str(dtype)

    def __repr__(self) -> str:
        return f"Value({self.shape}, {self.dtype})"


@dataclass(eq=False, kw_only=True)
class Node:
    """One call of a layer, or of an operation of ``keras.ops``.

    Attributes:
        operation: the layer; the same object in several nodes where it is shared.
        args: its positional arguments, with a ``Value`` where a tensor was.
        kwargs: its keyword arguments, in the same way.
        outputs: the values that it makes.
        name: the layer's name, unique among the operations of a graph.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Value, ...]
    name: str

    @cached_property  # a rewrite asks all nodes of a graph for theirs at every site
    def inputs(self) -> tuple[Value, ...]:
        """The tensors among the arguments, in order."""
        return tuple(leaf for leaf in tree.flatten((self.args, self.kwargs)) if isinstance(leaf, Value))

    @cached_property
    def kind(self) -> str:
        """The class name of the layer; with its module before it where the layer is not Keras' own but its name is.

        So a rule about ``Conv2D`` does not look for a kernel in a user's class of the same name.
        """
        name, module = type(self.operation).__name__, type(self.operation).__module__
        is_keras = module.partition(".")[0] == "keras"
        return f"{module}.{name}" if hasattr(keras.layers, name) and not is_keras else name

    def renamed(self, values: Mapping[Value, Value]) -> Node:
        """Return the node with other values in place of the keys of ``values``."""

        def other(leaf: Any) -> Any:
            return values.get(leaf, leaf) if isinstance(leaf, Value) else leaf

        args, kwargs = tree.map_structure(other, (self.args, self.kwargs))
        outputs = tuple(values.get(value, value) for value in self.outputs)
        return dataclasses.replace(self, args=args, kwargs=kwargs, outputs=outputs)

    def __call__(self, values: Mapping[Value, Any]) -> dict[Value, Any]:
        """Run the layer in inference mode on the tensors of its inputs."""
        # As Keras does in predict, also where the graph says training=True.
        mode = {"training": False} if takes_training(self.operation) else {}
        return _apply(self.operation, self, values, **mode)


@dataclass(eq=False, kw_only=True)
class Graph:
    """A functional model.

    Attributes:
        name: of the model.
        inputs: of the model, in order.
        input_names: the names of its input layers.
        nodes: in an order in which they can run.
        outputs: of the model, in order.
    """

    name: str
    inputs: tuple[Value, ...]
    input_names: tuple[str, ...]
    nodes: list[Node]
    outputs: tuple[Value, ...]
    _structures: Any = field(default=None, repr=False)

    # A graph is not changed after it is built, so what follows from its nodes is indexed once and not searched: rules
    # ask for the neighbors of every node, which took a walk over all nodes each time.
    @cached_property
    def _positions(self) -> dict[Node, int]:
        return {node: position for position, node in enumerate(self.nodes)}

    @cached_property
    def _producers(self) -> dict[Value, Node]:
        return {value: node for node in self.nodes for value in node.outputs}

    @cached_property
    def _users(self) -> dict[Value, list[Node]]:
        users: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                users.setdefault(value, []).append(node)
        return users

    @classmethod
    def from_model(cls, model: keras.Model) -> Graph:
        """Read a functional or Sequential model.

        Raises:
            UnsupportedModel: a subclassed model, which has no graph.
        """
        inner = graph_of(model)
        if inner is None:
            raise UnsupportedModel(
                f"'{model.name}' is a subclassed or unbuilt model, which has no graph to rewrite; "
                "build it with keras.Model(inputs, outputs)."
            )
        inputs = tuple(Value(tensor.shape, tensor.dtype) for tensor in inner.inputs)
        names = tuple(maker_of(tensor).name for tensor in inner.inputs)
        reader = _Reader(names)
        outputs = reader.walk(inner.outputs, dict(zip(map(id, inner.inputs), inputs, strict=True)))
        structures = (inputs_structure(inner), outputs_structure(inner))
        return cls(
            name=model.name,
            inputs=inputs,
            input_names=names,
            nodes=reader.nodes,
            outputs=outputs,
            _structures=structures,
        )

    @classmethod
    def from_tensors(cls, given: Mapping[Value, keras.KerasTensor], results: Iterable[keras.KerasTensor]) -> Graph:
        """Read the layers between symbolic tensors.

        Args:
            given: the symbolic tensors that the layers start from, each by its value.
            results: the symbolic tensors that the layers end in.
        """
        reader = _Reader()
        outputs = reader.walk(results, {id(tensor): value for value, tensor in given.items()})
        return cls(name="", inputs=tuple(given), input_names=(), nodes=reader.nodes, outputs=outputs)

    def to_model(self) -> keras.Model:
        """Build a functional model from the graph: new layer objects that hold the same variables."""
        tensors = self._symbolic()
        ends = [[tensors[value] for value in values] for values in (self.inputs, self.outputs)]
        if self._structures is not None:  # a dict of outputs stays one
            ends = [tree.pack_sequence_as(*pair) for pair in zip(self._structures, ends, strict=True)]
        return keras.Model(*ends, name=self.name)

    def resized(self, input_size: tuple[int, int]) -> Graph:
        """Return the graph for another input size; unlike ``at_input_size`` this needs no config of the layers.

        Args:
            input_size: ``(H, W)`` of every input, in pixels.

        Raises:
            InputError: a layer works for its own size only.
        """
        try:
            return self._renewed(self._symbolic(input_size))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"the model cannot be rebuilt at {input_size[0]},{input_size[1]} (H,W): {reason_of(error)} "
                f"Its own size is {self.inputs[0].shape[1:3]}."
            ) from error

    def with_operations(self, changed: Mapping[int, Any], input_dtypes: Mapping[Value, str]) -> Graph:
        """Return the graph with other layers in the same places, and the shapes and dtypes that these give.

        Args:
            changed: the new layers, each by the ``id`` of the old one.
            input_dtypes: dtype of every input.
        """
        inputs = {value: Value(value.shape, input_dtypes[value]) for value in self.inputs}
        nodes = [
            dataclasses.replace(node.renamed(inputs), operation=changed[id(node.operation)]) for node in self.nodes
        ]
        outputs = tuple(inputs.get(value, value) for value in self.outputs)
        graph = dataclasses.replace(self, inputs=tuple(inputs.values()), nodes=nodes, outputs=outputs)
        return graph._renewed(graph._symbolic())

    def with_outputs(self, values: Sequence[Value]) -> Graph:
        """Return the graph that gives these values, as a list, without the nodes that none of them needs."""
        needed, pending = set(values), list(values)
        while pending:
            node = self.producer(pending.pop())
            for value in () if node is None else node.inputs:
                if value not in needed:
                    needed.add(value)
                    pending.append(value)
        nodes = [node for node in self.nodes if not needed.isdisjoint(node.outputs)]
        return dataclasses.replace(self, nodes=nodes, outputs=tuple(values), _structures=None)

    def followed_by(self, operation: Any, name: str) -> Graph:
        """Return the graph with one more layer after its output, which changes neither shape nor dtype."""
        (value,) = self.outputs
        result = Value(value.shape, value.dtype)
        node = Node(operation=operation, args=(value,), kwargs={}, outputs=(result,), name=name)
        return dataclasses.replace(self, nodes=[*self.nodes, node], outputs=(result,))

    def with_scope_names(self) -> Graph:
        """Return the graph with names that TensorFlow takes as scopes; itself where all are.

        Keras takes any name without a slash, ``my layer`` too, and another backend than TensorFlow trains it.
        """
        if all(map(_SCOPE_NAME.fullmatch, (self.name, *(node.name for node in self.nodes)))):
            return self
        renamed: dict[int, Any] = {}  # the operations, which several nodes may share
        for node in self.nodes:
            if id(node.operation) not in renamed:
                taken = {*self.input_names, *(operation.name for operation in renamed.values())}
                name = unique_name(_scope_name(node.name), taken)
                renamed[id(node.operation)] = twin(node.operation, name=name)
        operations = [renamed[id(node.operation)] for node in self.nodes]
        nodes = [
            dataclasses.replace(node, operation=operation, name=operation.name)
            for node, operation in zip(self.nodes, operations, strict=True)
        ]
        return dataclasses.replace(self, name=_scope_name(self.name), nodes=nodes)

    def with_node(self, old: Node, new: Node) -> Graph:
        """Return the graph with one node in place of another that makes the same values."""
        return dataclasses.replace(self, nodes=[new if node is old else node for node in self.nodes])

    def without(self, node: Node, becomes: Mapping[Value, Value]) -> Graph:
        """Return the graph without a node, and without those that only it needs.

        Args:
            node: to omit.
            becomes: for each output of the node that others read, what they read instead.
        """
        nodes = [other.renamed(becomes) for other in self.nodes if other is not node]
        outputs = [becomes.get(value, value) for value in self.outputs]
        return dataclasses.replace(self, nodes=nodes).with_outputs(outputs)

    def users(self, value: Value) -> list[Node]:
        """Return the nodes that read a value."""
        return self._users.get(value, [])

    def producer(self, value: Value) -> Node | None:
        """Return the node that makes a value; ``None`` for an input of the graph."""
        return self._producers.get(value)

    def operations(self) -> float:
        """Estimate the multiplications and additions for an image: those of the filters, and of nothing else.

        A convolution uses each weight once for each pixel of its output, a transposed one for each of its input, so
        the smaller of the two counts.
        """
        total = 0.0
        for node in self.nodes:
            maps = [value.shape[1:-1] for value in (*node.inputs, *node.outputs) if len(value.shape) == 4]
            pixels = [math.prod(side or 0 for side in sides) for sides in maps if None not in sides]
            filters = [weight.shape for weight in getattr(node.operation, "weights", ()) if len(weight.shape) >= 4]
            total += 2 * min(pixels, default=0) * sum(map(math.prod, filters))
        return total

    def __contains__(self, node: Node) -> bool:
        return node in self._positions

    def ordered(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """Sort some of the nodes in the graph's order."""
        return tuple(sorted(set(nodes), key=self._positions.__getitem__))

    def boundary(self, nodes: Collection[Node]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """Return the values that some of the nodes read from outside, and those of theirs that are read outside."""
        inner = {value for node in nodes for value in node.outputs}
        inside = set(nodes)
        inputs = [value for node in nodes for value in node.inputs if value not in inner]
        outputs = [
            value
            for node in nodes
            for value in node.outputs
            if value in self.outputs or any(user not in inside for user in self.users(value))
        ]
        return tuple(dict.fromkeys(inputs)), tuple(dict.fromkeys(outputs))

    def replaced(self, nodes: Collection[Node], by: Graph, outputs: Sequence[Value]) -> Graph:
        """Return a new graph in which some nodes are replaced; the others are the same objects.

        Args:
            nodes: to replace.
            by: the replacement; it starts from values of this graph.
            outputs: the value of this graph that each of ``by``'s outputs becomes.
        """
        becomes = dict(zip(by.outputs, outputs, strict=True))
        gone = set(nodes)
        first = min(self._positions[node] for node in nodes)
        names = {id(node.operation): node.name for node in self.nodes if node not in gone}
        taken = {*self.input_names, *names.values()}
        new = []
        for node in by.nodes:
            if id(node.operation) not in names:
                names[id(node.operation)] = unique_name(node.name, taken)
                taken.add(names[id(node.operation)])
            new.append(dataclasses.replace(node.renamed(becomes), name=names[id(node.operation)]))
        merged = [node for node in (*self.nodes[:first], *new, *self.nodes[first:]) if node not in gone]
        return dataclasses.replace(self, nodes=_in_order(merged))

    def _symbolic(self, input_size: tuple[int, int] | None = None) -> dict[Value, Any]:
        """Return a symbolic tensor for every value, made by copies of the layers from new inputs."""

        def shape(value: Value) -> tuple[int | None, ...]:
            return value.shape if input_size is None else (value.shape[0], *input_size, *value.shape[3:])

        tensors: dict[Value, Any] = {
            value: keras.Input(batch_shape=shape(value), dtype=value.dtype, name=name)
            for value, name in zip(self.inputs, self.input_names, strict=True)
        }
        twins: dict[int, Any] = {}
        for node in self.nodes:
            if id(node.operation) not in twins:
                twins[id(node.operation)] = twin(node.operation, name=node.name)
            tensors.update(_apply(twins[id(node.operation)], node, tensors))
        return tensors

    def _renewed(self, tensors: Mapping[Value, Any]) -> Graph:
        """Return the same graph with the shapes and dtypes of symbolic tensors."""
        new = {value: Value(tensor.shape, tensor.dtype) for value, tensor in tensors.items()}
        inputs, outputs = (tuple(new[value] for value in values) for values in (self.inputs, self.outputs))
        return dataclasses.replace(self, inputs=inputs, nodes=[n.renamed(new) for n in self.nodes], outputs=outputs)


def run(nodes: Iterable[Node], values: Mapping[Value, Any]) -> dict[Value, Any]:
    """Run nodes on tensors, in inference mode.

    Args:
        nodes: in an order in which they can run.
        values: the tensors that the nodes start from.

    Returns:
        Every value: the given ones and those that the nodes made.
    """
    known = dict(values)
    for node in nodes:
        known.update(node(known))
    return known


def _scope_name(name: str) -> str:
    return re.sub(r"^[^A-Za-z0-9.]+", "", re.sub(r"[^A-Za-z0-9_./>-]", "_", name)) or "layer"


def unique_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number appended where it is taken."""
    number, candidate = 0, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


class _Reader:
    """Collects the nodes of a model; those of a nested model take the place of the call to it.

    Args:
        input_names: of the model's input layers, whose names no other layer may have.
    """

    def __init__(self, input_names: tuple[str, ...] = ()) -> None:
        self.nodes: list[Node] = []
        self._taken = set(input_names)
        self._names: dict[int, str] = {}

    def walk(self, results: Iterable[Any], values: dict[int, Value], prefix: str = "") -> tuple[Value, ...]:
        """Follow the tensors back to those in ``values``, with a stack, as deep models exceed Python's recursion."""
        results = list(results)
        pending = results[::-1]
        while pending:
            tensor = pending[-1]
            if id(tensor) in values:
                pending.pop()
                continue
            call = call_of(tensor)
            missing = [x for x in call.inputs if id(x) not in values]
            if missing:
                pending.extend(reversed(missing))
                continue
            pending.pop()
            self._add(call, values, prefix)
        return tuple(values[id(tensor)] for tensor in results)

    def _add(self, call: Call, values: dict[int, Value], prefix: str) -> None:
        operation = call.operation
        inner = graph_of(operation)
        if inner is not None:
            fed = (values[id(tensor)] for tensor in call.inputs)
            started = dict(zip(map(id, inner.inputs), fed, strict=True))
            outputs = self.walk(inner.outputs, started, f"{prefix}{operation.name}.")
            values.update(zip(map(id, call.outputs), outputs, strict=True))
            return
        outputs = tuple(Value(tensor.shape, tensor.dtype) for tensor in call.outputs)
        args, kwargs = tree.map_structure(
            lambda x: values[id(x)] if isinstance(x, keras.KerasTensor) else x, (call.args, call.kwargs)
        )
        values.update(zip(map(id, call.outputs), outputs, strict=True))
        name = self._name(operation, prefix)
        self.nodes.append(Node(operation=operation, args=args, kwargs=kwargs, outputs=outputs, name=name))

    def _name(self, operation: Any, prefix: str) -> str:
        """Return the layer's own name, after that of its nested model only where two layers would have the same."""
        if id(operation) not in self._names:
            name = operation.name if operation.name not in self._taken else prefix + operation.name
            self._names[id(operation)] = unique_name(name, self._taken)
            self._taken.add(self._names[id(operation)])
        return self._names[id(operation)]


def _apply(operation: Any, node: Node, values: Mapping[Value, Any], **overruled: Any) -> dict[Value, Any]:
    args, kwargs = tree.map_structure(
        lambda leaf: values[leaf] if isinstance(leaf, Value) else leaf, (node.args, node.kwargs)
    )
    outputs = tree.flatten(operation(*args, **(kwargs | overruled)))
    return dict(zip(node.outputs, outputs, strict=True))


def _in_order(nodes: list[Node]) -> list[Node]:
    """Sort the nodes so that each comes after those that it reads; otherwise their order is kept."""
    waiting = {value for node in nodes for value in node.outputs}
    ordered: list[Node] = []
    rest = nodes
    while rest:
        later: list[Node] = []
        for node in rest:
            if waiting.isdisjoint(node.inputs):
                ordered.append(node)
                waiting.difference_update(node.outputs)
            else:
                later.append(node)
        rest = later
    return ordered
