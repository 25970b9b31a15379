"""Reach what tf2onnx does not document: the one door to it; seen in 1.17.0.

====================================== ==============================================================================
``tfonnx.process_tf_graph``            the first half of ``from_graph_def``; its second half is written anew here, as
                                       it copies all weights some fifty times; see ``convert``
``graph.Graph`` and ``Node``           ``get_nodes``, ``update_proto``, ``delete_unused_nodes``, ``topological_sort``,
                                       ``make_model``; ``is_const``, ``attr``, and ``_op``, the node's protobuf
``optimizer._get_optimizers``          the optimizers that ``from_graph_def`` runs: ``opt_iteration``, ``_optimize``,
                                       ``graph_been_opt``
``set`` in its modules                 tf2onnx walks through sets of nodes; see ``_in_order``
``utils.INTERNAL_NAME``                the number in the last name that it made; see ``_in_order``
``tf_loader.tf_optimize``              what ``from_graph_def`` does to a graph before it converts it
``verbose_logging.set_scope_level``    the level of its logger, for as long as something runs
``custom_op_handlers``' graph          ``get_shape``, ``get_dtype``, ``make_const``, ``make_node``, ``remove_node``,
                                       and ``utils.make_name``, ``utils.map_onnx_to_numpy_type``; see ``handler``
====================================== ==============================================================================
"""

from __future__ import annotations

import copy
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSet
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from tf2onnx import optimizer, utils
from tf2onnx.tf_loader import tf_optimize
from tf2onnx.tfonnx import process_tf_graph
from tf2onnx.verbose_logging import set_scope_level

from edgeseg_converters.onnx.memory import new_objects_collected

_log = logging.getLogger(__name__)

# What is changed while it converts is the process's: names in its modules, their counter, levels of loggers.
_one_at_a_time = threading.Lock()

#: A handler as tf2onnx takes it: a function that replaces a node by others, and its arguments.
Handler = tuple[Callable[..., None], list[Any]]

#: Takes an ONNX graph under construction, the name of the number 1 in it, and the op's argument; returns the op that
#: makes the result, and the names of its inputs.
Identity = Callable[[Any, str, str], tuple[str, list[str]]]


def optimize(graph_def: Any, source: str, result: str) -> Any:
    """Return the part of a graph from a tensor to another, with constants folded and functions inlined.

    Args:
        graph_def: TensorFlow's ``GraphDef``; functions that ask for XLA lose that request, see ``_inlinable``.
        source: name of the tensor that is fed.
        result: name of the tensor that is fetched.

    Returns:
        A ``GraphDef`` with its nodes sorted by name: TensorFlow's order differs from run to run.
    """
    with _one_at_a_time, tf.Graph().as_default(), quiet():
        optimized = tf_optimize([source], [result], _inlinable(graph_def))
    optimized.node.sort(key=lambda node: node.name)
    return optimized


def convert(graph_def: Any, handlers: Mapping[str, Handler], *, name: str = "", **settings: Any) -> onnx.ModelProto:
    """Convert a graph as ``tf2onnx.convert.from_graph_def`` does, to the same nodes, in less time and memory.

    ``from_graph_def`` copies the graph before each of some thirty runs of optimizers, and updates every node's protobuf
    after each: both copy all weights, and the copies are cycles that Python seldom looks for. 176 MB took 17 GB. Here
    the copies share the constants, which no optimizer changes in place, and no constant's protobuf is updated, as only
    those of other nodes are written.

    Args:
        graph_def: what ``optimize`` returned.
        handlers: name of a TensorFlow op to the result of ``handler``.
        name: of the model, for its documentation.
        **settings: see ``from_graph_def``.

    Returns:
        A model in which ops that tf2onnx does not know stay as they were: it only logs them. The same for the same
        graph, whatever the process did before. Conversions in several threads wait for each other.
    """
    with _one_at_a_time, new_objects_collected(), quiet(), _in_order():
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(graph_def, name="")
            graph = process_tf_graph(imported, custom_op_handlers=dict(handlers), continue_on_error=True, **settings)
        del graph_def, imported
        graph = _optimized(graph)
        graph.update_proto = lambda _: _update_protos(graph)  # make_model calls it
        model: onnx.ModelProto = graph.make_model(f"converted from {name}")
    return model


def handler(identity: Identity) -> Handler:
    """Return a handler for an op of one argument that is an identity of ops which ONNX has.

    Args:
        identity: makes all nodes but the last one.
    """

    def replace(graph: Any, node: Any, name: str, _: list[Any]) -> None:
        (x,), (result,) = node.input, node.output
        shape, dtype = graph.get_shape(result), graph.get_dtype(result)
        ones = np.ones((), utils.map_onnx_to_numpy_type(dtype))
        one = graph.make_const(utils.make_name(f"{name}_one"), ones).output[0]
        last, inputs = identity(graph, one, x)
        graph.remove_node(name)
        graph.make_node(last, inputs, name=name, outputs=[result], shapes=[shape], dtypes=[dtype])

    return replace, []


@contextmanager
def quiet() -> Iterator[None]:
    """Hide tf2onnx's error logs, as they are raised as our errors, and TensorFlow's logs of deprecated calls."""
    with (
        set_scope_level(logging.CRITICAL, logging.getLogger("tf2onnx")),
        set_scope_level(logging.ERROR, tf.get_logger()),
    ):
        yield


def _inlinable(graph_def: Any) -> Any:
    """Return the same graph, in which functions that ask for XLA are inlined like all others.

    Keras asks for it in a Conv2D with groups; TensorFlow then keeps the function, which tf2onnx does not know.
    """
    functions = graph_def.library.function
    for part in (*graph_def.node, *functions, *(node for function in functions for node in function.node_def)):
        part.attr.pop("_XlaMustCompile", None)
        part.attr.pop("_noinline", None)
    return graph_def


def _optimized(graph: Any) -> Any:
    """Return a graph after tf2onnx's optimizers, all of them again for as long as one changes something.

    As ``optimizer.optimize_graph`` does. An optimizer that fails leaves the graph as it was, of which one copy serves
    all the optimizers that change nothing.
    """
    iteration, changed = 0, True
    before = None
    while changed:
        gc.collect()  # TensorFlow's graph, and what the optimizers replaced
        changed = False
        for make in optimizer._get_optimizers().values():
            step = make()
            step.opt_iteration = iteration
            before = before or _copied(graph)
            nodes = _nodes(graph)
            try:
                graph = step._optimize(graph) or graph
                _update_protos(graph)
                graph.delete_unused_nodes(graph.outputs)
            except Exception:  # noqa: BLE001 - whatever it raises: the result without it is right
                _log.debug("tf2onnx's %s failed", type(step).__name__, exc_info=True)
                graph, before = before, None
                continue
            changed = changed or step.graph_been_opt
            if step.graph_been_opt or _nodes(graph) != nodes:  # some say nothing of what they remove
                before = None
        iteration += 1
    graph.topological_sort(graph.get_nodes())
    return graph


def _nodes(graph: Any) -> list[tuple[Any, ...]]:
    return [(node.name, node.type, *node.input) for node in graph.get_nodes()]


def _copied(graph: Any) -> Any:
    """Return a copy of a graph with the same constants, which are all but a few kilobytes of it."""
    shared: dict[int, Any] = {}
    for node in graph.get_nodes():
        if node.is_const():
            shared |= {id(part): part for part in (node._op, *node.attr.values())}
    return copy.deepcopy(graph, shared)


def _update_protos(graph: Any) -> None:
    """Update the protobufs of all nodes but the constants, which are written as initializers."""
    for node in graph.get_nodes():
        if not node.is_const():
            node.update_proto()


@contextmanager
def _in_order() -> Iterator[None]:
    """Keep tf2onnx from depending on where objects are in memory, on hashes of strings, and on earlier conversions.

    It walks through sets of nodes and names, and numbers what it makes on the way by one counter for the process.
    """
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "tf2onnx"]
    before = utils.INTERNAL_NAME
    for module in modules:
        vars(module)["set"] = _OrderedSet
    utils.INTERNAL_NAME = 0
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["set"]
        utils.INTERNAL_NAME = before


class _OrderedSet(MutableSet[Any]):
    """A set in the order in which its items were added, with the methods that tf2onnx calls."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Any) -> None:
        self._items[item] = None

    def discard(self, item: Any) -> None:
        self._items.pop(item, None)

    def union(self, other: Iterable[Any]) -> _OrderedSet:
        return _OrderedSet((*self, *other))

    def intersection(self, other: Iterable[Any]) -> _OrderedSet:
        others = _OrderedSet(other)
        return _OrderedSet(item for item in self if item in others)

    def issubset(self, other: Iterable[Any]) -> bool:
        return self <= _OrderedSet(other)

    def update(self, other: Iterable[Any]) -> None:
        self._items.update(dict.fromkeys(other))
