"""Reach what tf2onnx does not document: the one door to it; seen in 1.17.0.

====================================== ==============================================================================
``convert._convert_common``            ``from_graph_def``, which is public, takes no optimizers; see ``convert``
``optimizer._get_optimizers``          the optimizers that run when none are given
``tf_loader.tf_optimize``              what ``from_graph_def`` does to a graph before it converts it
``verbose_logging.set_scope_level``    the level of its logger, for as long as something runs
``custom_op_handlers``' graph          ``get_shape``, ``get_dtype``, ``make_const``, ``make_node``, ``remove_node``,
                                       and ``utils.make_name``, ``utils.map_onnx_to_numpy_type``; see ``handler``
====================================== ==============================================================================
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from tf2onnx import convert as tf2onnx_convert
from tf2onnx import optimizer, utils
from tf2onnx.tf_loader import tf_optimize
from tf2onnx.verbose_logging import set_scope_level

from edgeseg_converters.onnx.memory import new_objects_collected

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
    """
    with tf.Graph().as_default(), quiet():
        return tf_optimize([source], [result], _inlinable(graph_def))


def convert(graph_def: Any, handlers: Mapping[str, Handler], **settings: Any) -> onnx.ModelProto:
    """Convert a graph as ``tf2onnx.convert.from_graph_def`` does, in less memory.

    Each of some thirty runs of optimizers has a copy of the graph with all weights, and the copies are cycles that
    Python seldom looks for: 176 MB took 17 GB. Here the previous copy is dropped first, for which the optimizers must
    be given.

    Args:
        graph_def: what ``optimize`` returned.
        handlers: name of a TensorFlow op to the result of ``handler``.
        **settings: see ``from_graph_def``.

    Returns:
        A model in which ops that tf2onnx does not know stay as they were: it only logs them.
    """
    optimizers = {name: _after_collection(make) for name, make in optimizer._get_optimizers().items()}
    with new_objects_collected(), quiet():
        model: onnx.ModelProto = tf2onnx_convert._convert_common(
            graph_def, custom_op_handlers=dict(handlers), optimizers=optimizers, continue_on_error=True, **settings
        )[0]
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


def _after_collection(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a factory that first drops the copy of the graph that the previous optimizer worked on."""

    def collect_and_make() -> Any:
        gc.collect()
        return make()

    return collect_and_make
