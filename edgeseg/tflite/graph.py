"""Read the nodes of a TFLite model, cut them into a delegate's partitions, and write models of one node.

Needs the schema package of ``ai-edge-litert``, which the functions import when they are called.
"""

from __future__ import annotations

import functools
import struct
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from edgeseg.errors import InputError, missing_extra
from edgeseg.tflite.litert_internals import load_schema, to_bytes
from edgeseg.tflite.verifier import verify


@dataclass(frozen=True)
class Tensor:
    """A tensor as the coverage tables see it: ``dtype`` is the schema's name (``FLOAT32``)."""

    dtype: str
    shape: tuple[int, ...]
    constant: bool


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator of the main graph.

    Attributes:
        index: its place in the execution order.
        op: name of the builtin, or the custom op's own.
        version: the op's version in the file.
        inputs: tensor numbers, without the optional ones that are omitted.
        outputs: tensor numbers.
        options: the schema's options object, ``None`` where the op has none.
    """

    index: int
    op: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any

    def option(self, name: str) -> Any:
        """Return an option's value, ``None`` where the op has no such option."""
        return getattr(self.options, name, None)


@dataclass(frozen=True)
class Graph:
    """The main graph of a model: its nodes, its tensors, and the unpacked model for ``one_node_model``."""

    nodes: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    model: Any

    @property
    def ops(self) -> list[str]:
        """Return every node's op, in order."""
        return [node.op for node in self.nodes]

    def unpacks_weights(self, node: Node) -> bool:
        """Return whether the node only converts constant half-precision weights to float32, once in a delegate."""
        return node.op == "DEQUANTIZE" and self.tensors[node.inputs[0]].constant

    def with_weights(self, taken: Collection[int]) -> set[int]:
        """Return the nodes taken, and the unpackers of weights that feed only those."""
        readers: dict[int, set[int]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                readers.setdefault(tensor, set()).add(node.index)
        unpackers = (node for node in self.nodes if self.unpacks_weights(node))
        return {*taken, *(n.index for n in unpackers if readers.get(n.outputs[0], {-1}) <= set(taken))}


def op_name(code: Any) -> str:
    """Return the name of an op: a builtin's in TFLite's schema (``CONV_2D``), a custom op's own.

    Args:
        code: an ``OperatorCodeT``, an entry of the table of ops that a model has.
    """
    # Files from before 2020 have the number in the old 8-bit field alone.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _names("BuiltinOperator").get(number, f"BUILTIN_{number}")  # newer than the schema that is installed
    return (code.customCode or b"").decode(errors="replace") if name == "CUSTOM" else name


def count_ops(data: bytes) -> dict[str, int]:
    """Count the ops of all graphs of a model, the most frequent first.

    Args:
        data: a whole ``.tflite`` file.

    Raises:
        InputError: the file is broken.
        BackendUnavailable: ai-edge-litert is not installed.
    """
    model = _unpack(data)
    names = [op_name(code) for code in model.operatorCodes or ()]
    return dict(
        Counter(names[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators or ()).most_common()
    )


def read_graph(data: bytes) -> Graph:
    """Read a model's main graph.

    Args:
        data: a whole ``.tflite`` file.

    Raises:
        InputError: the file is broken.
        BackendUnavailable: ai-edge-litert is not installed.
    """
    model = _unpack(data)
    graph, dtypes = model.subgraphs[0], _names("TensorType")
    tensors = tuple(
        Tensor(
            dtypes.get(t.type, f"TYPE_{t.type}"),
            tuple(map(int, [] if t.shape is None else t.shape)),
            _has_data(model, t),
        )
        for t in graph.tensors or ()
    )
    nodes = []
    for index, operator in enumerate(graph.operators or ()):
        code = model.operatorCodes[operator.opcodeIndex]
        node = Node(
            index=index,
            op=op_name(code),
            version=code.version,
            inputs=tuple(tensor for tensor in _numbers(operator.inputs) if tensor >= 0),
            outputs=_numbers(operator.outputs),
            options=operator.builtinOptions,
        )
        nodes.append(node)
    return Graph(tuple(nodes), tensors, model)


def partitions(graph: Graph, taken: Collection[int]) -> list[list[int]]:
    """Return the partitions in which a delegate gets the nodes that it can take.

    As in TFLite (``PartitionGraphIntoIndependentNodeSubsets``): go through the nodes in order, again and again, and put
    every node whose inputs are available into the current partition, as long as it is on the same side; then the next.

    Args:
        graph: the model.
        taken: indices of the nodes that the delegate can take; unpackers of weights count as constants.

    Returns:
        The partitions of the delegate's side, in the order of execution, each a list of indices.
    """
    waiting = [node for node in graph.nodes if not graph.unpacks_weights(node)]
    missing = {tensor for node in waiting for tensor in node.outputs}
    pieces = []
    while waiting:
        side = next((node.index in taken for node in waiting if missing.isdisjoint(node.inputs)), None)
        if side is None:
            raise InputError("the model's nodes wait for each other: a broken file.")
        piece: list[int] = []
        size = -1
        while size != len(piece):
            size = len(piece)
            rest = []
            for node in waiting:
                if (node.index in taken) is side and missing.isdisjoint(node.inputs):
                    piece.append(node.index)
                    missing.difference_update(node.outputs)
                else:
                    rest.append(node)
            waiting = rest
        if side:
            pieces.append(piece)
    return pieces


def one_node_model(graph: Graph, node: Node) -> bytes:
    """Write a model of only one node, with its constants, to ask a runtime about that node; tensors have no names."""
    schema, source = load_schema(), graph.model
    operator = source.subgraphs[0].operators[node.index]
    model, subgraph, copy, empty = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.BufferT()
    model.version, model.buffers, subgraph.tensors = source.version, [empty], []
    places: dict[int, int] = {-1: -1}
    for number in (*map(int, operator.inputs), *map(int, operator.outputs)):
        if number in places:
            continue
        original = source.subgraphs[0].tensors[number]
        tensor = schema.TensorT()
        for field in ("shape", "type", "quantization", "isVariable", "hasRank"):
            setattr(tensor, field, getattr(original, field))
        tensor.buffer = 0
        if _has_data(source, original):
            tensor.buffer = len(model.buffers)
            model.buffers.append(source.buffers[original.buffer])
        places[number] = len(subgraph.tensors)
        subgraph.tensors.append(tensor)
    for field in ("builtinOptionsType", "builtinOptions", "customOptions", "customOptionsFormat"):
        setattr(copy, field, getattr(operator, field))
    copy.opcodeIndex = 0
    copy.inputs = [places[int(number)] for number in operator.inputs]
    copy.outputs = [places[int(number)] for number in operator.outputs]
    subgraph.operators = [copy]
    subgraph.inputs = [
        place for place in dict.fromkeys(copy.inputs) if place >= 0 and not subgraph.tensors[place].buffer
    ]
    subgraph.outputs = copy.outputs
    model.operatorCodes, model.subgraphs = [source.operatorCodes[operator.opcodeIndex]], [subgraph]
    return to_bytes(model)


def _unpack(data: bytes) -> Any:
    """Unpack a file into objects, a ``ModelT``."""
    try:
        schema = load_schema()
    except ModuleNotFoundError as error:  # tflite-runtime ships no schema
        raise missing_extra("the coverage of a .tflite model", "tflite") from error
    try:
        verify(data)
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        _ = model.subgraphs[0]
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise InputError(f"the TFLite model is broken: {error}.") from error
    return model


def _numbers(vector: Any) -> tuple[int, ...]:
    """Return a vector of the schema's, which is ``None`` where the file omits it."""
    return () if vector is None else tuple(map(int, vector))


@functools.cache
def _names(enum: str) -> dict[int, str]:
    """Return number to name of an enumeration of TFLite's schema."""
    members = vars(getattr(load_schema(), enum))
    return {number: name for name, number in members.items() if isinstance(number, int)}


def _has_data(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
