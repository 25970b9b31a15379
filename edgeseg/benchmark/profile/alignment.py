"""Find the nodes of a ``.tflite`` that XNNPACK's operators come from.

XNNPACK names its operators by what they compute (``Fully Connected (NC, F32) GEMM``, which also is a convolution of
1x1), in the order of the nodes of its partition. It omits some nodes, which it computes inside others, and adds
operators of its own. What does not fit node by node is aligned with none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeseg.tflite.graph import Graph, partitions
from edgeseg.tflite.profiler_internals import OpEvent

# How the operators of a node are called: the start of XNNPACK's name, as src/operator-utils.c has them.
_OPERATORS: Mapping[str, tuple[str, ...]] = {
    "ABS": ("abs",),
    "ADD": ("add",),
    "AVERAGE_POOL_2D": ("average pooling", "global average pooling"),
    "CONCATENATION": ("copy", "concatenate"),
    "CONV_2D": ("convolution", "fully connected"),
    "Convolution2DTransposeBias": ("deconvolution",),
    "DEPTHWISE_CONV_2D": ("convolution",),
    "DEPTH_TO_SPACE": ("depth to space",),
    "DEQUANTIZE": ("convert", "copy"),
    "DIV": ("divide",),
    "ELU": ("elu",),
    "FULLY_CONNECTED": ("fully connected",),
    "HARD_SWISH": ("hardswish", "hard swish"),
    "LEAKY_RELU": ("leaky relu",),
    "LOGISTIC": ("sigmoid",),
    "MAXIMUM": ("maximum",),
    "MAX_POOL_2D": ("max pooling",),
    "MEAN": ("mean", "global average pooling", "global sum pooling"),
    "MINIMUM": ("minimum",),
    "MUL": ("multiply",),
    "MaxPoolingWithArgmax2D": ("argmax pooling",),
    "MaxUnpooling2D": ("unpooling",),
    "NEG": ("negate",),
    "PAD": ("constant pad",),
    "PRELU": ("prelu",),
    "QUANTIZE": ("convert", "copy"),
    "RELU": ("clamp",),
    "RELU6": ("clamp",),
    "RESHAPE": ("static reshape", "copy"),
    "RESIZE_BILINEAR": ("resize bilinear",),
    "SLICE": ("slice",),
    "SOFTMAX": ("softmax",),
    "SPACE_TO_DEPTH": ("space to depth",),
    "SPLIT": ("slice", "copy"),
    "SQUARE": ("square",),
    "STRIDED_SLICE": ("slice",),
    "SUB": ("subtract",),
    "SUM": ("sum", "global sum pooling"),
    "TANH": ("tanh",),
    "TRANSPOSE": ("transpose",),
    "TRANSPOSE_CONV": ("deconvolution",),
}

# Nodes that XNNPACK may compute inside another: the margin that a convolution takes, an activation, a copy of nothing.
_WITHIN_ANOTHER = frozenset({"PAD", "RELU", "RELU6", "RESHAPE"})

# Operators that XNNPACK may add after one of a node: its activation, and changes of type or order.
_ADDED = ("clamp", "convert", "copy", "slice", "transpose")

# The places chosen so far, the last first.
_Path = tuple[int, "_Path"] | None


def aligned(graph: Graph, events: Sequence[OpEvent]) -> list[int | None]:
    """Return for each event of a run the index of the node that it belongs to; ``None`` where that is not known.

    Args:
        graph: of the file that was run.
        events: in the order in which they ran.
    """
    nodes: list[int | None] = [None] * len(events)
    own = {}
    for place, event in enumerate(events):
        if not event.delegated:
            if event.graph or event.index >= len(graph.nodes) or graph.nodes[event.index].op != event.name:
                return nodes  # a graph inside the graph, or numbers that mean something else
            own[place] = event.index
    for place, index in own.items():
        nodes[place] = index
    runs = _partitions(events)
    pieces = partitions(graph, {node.index for node in graph.nodes} - set(own.values()))
    if len(runs) != len(pieces):
        return nodes
    for run, piece in zip(runs, pieces, strict=True):
        found = align([graph.nodes[index].op for index in piece], [events[place].name for place in run])
        for place, at in zip(run, found or (), strict=found is not None):
            nodes[place] = piece[at]
    return nodes


def align(ops: Sequence[str], operators: Sequence[str]) -> list[int] | None:
    """Return for each operator of XNNPACK the place of its node: the assignment with the fewest exceptions.

    Args:
        ops: of the nodes of a partition, in order.
        operators: names of what ran, in order.

    Returns:
        ``None`` where no assignment explains every node and every operator.
    """
    # By the number of nodes that are done: the fewest exceptions with which that is reached, and how.
    states: dict[int, _State] = {0: _State(0, None)}
    for operator in operators:
        following: dict[int, _State] = {}
        for done, state in _without(ops, states).items():
            if done < len(ops) and operator.lower().startswith(_OPERATORS.get(ops[done], ())):
                _keep(following, done + 1, _State(state.exceptions, (done, state.path)))
            if state.path is not None and operator.lower().startswith(_ADDED):
                _keep(following, done, _State(state.exceptions + 1, (state.path[0], state.path)))
        states = following
    end = _without(ops, states).get(len(ops))
    if end is None:
        return None
    places: list[int] = []
    path = end.path
    while path is not None:
        places.append(path[0])
        path = path[1]
    return places[::-1]


@dataclass(frozen=True)
class _State:
    """An assignment of the operators so far."""

    exceptions: int
    path: _Path


def _without(ops: Sequence[str], states: Mapping[int, _State]) -> dict[int, _State]:
    """Return the states, and those in which the next nodes have no operator of their own."""
    reached = dict(states)
    for done in range(min(states, default=len(ops)), len(ops)):
        if done in reached and ops[done] in _WITHIN_ANOTHER:
            _keep(reached, done + 1, _State(reached[done].exceptions + 1, reached[done].path))
    return reached


def _keep(states: dict[int, _State], done: int, state: _State) -> None:
    if done not in states or state.exceptions < states[done].exceptions:
        states[done] = state


def _partitions(events: Sequence[OpEvent]) -> list[list[int]]:
    """Return the places of the delegated events of each partition: it is numbered from 0, without a break."""
    pieces: list[list[int]] = []
    before: OpEvent | None = None
    for place, event in enumerate(events):
        if event.delegated:
            if before is None or not before.delegated or event.index <= before.index:
                pieces.append([])
            pieces[-1].append(place)
        before = event
    return pieces
