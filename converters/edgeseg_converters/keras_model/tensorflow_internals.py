"""Reach the private names of TensorFlow: the one door to them.

Every name was seen in TensorFlow 2.21.0, and has a test of its own in
``tests/converters/keras_model/test_tensorflow_internals.py``, which says where to look for its replacement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def function_graph(function: Callable[[tf.Tensor], tf.Tensor], signature: tf.TensorSpec) -> Any:
    """Return the graph of a Python function of one tensor, which may hold what the graph does not.

    ``tf.__internal__.FuncGraph`` with its ``inputs``, ``outputs`` and ``captures``, seen in TensorFlow 2.21.0. What
    ``tf.function`` makes of such a graph writes it to protobuf several times, with all constants.

    Args:
        function: is called once.
        signature: of its argument, with a name.

    Returns:
        The graph; ``captures`` is not empty where it reads a variable or a tensor of elsewhere.
    """
    graph = tf.__internal__.FuncGraph(function.__name__)
    with graph.as_default():
        source = tf.compat.v1.placeholder(signature.dtype, signature.shape, name=signature.name)
        result = tf.identity(function(source))
    graph.inputs, graph.outputs = [source], [result]
    return graph


def with_constants(function: Any) -> Any:
    """Return a ConcreteFunction with constants in place of its variables, and without functions that it calls.

    ``tensorflow.python.framework.convert_to_constants.convert_variables_to_constants_v2``, seen in TensorFlow 2.21.0.
    The public ``tf.compat.v1.graph_util.convert_variables_to_constants`` needs a session and takes no ConcreteFunction.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def replace_input(op: tf.Operation, index: int, tensor: tf.Tensor) -> None:
    """Let an op of a graph read another tensor; changes the graph.

    ``tf.Operation._update_input``, seen in TensorFlow 2.21.0. Publicly a graph only grows: the other way is to edit
    its GraphDef and to import it again, which copies all weights.

    Args:
        op: of the graph.
        index: which of its inputs.
        tensor: of the same graph, dtype and shape.
    """
    op._update_input(index, tensor)


def converter_error() -> type[Exception]:
    """Return the exception class that ``TFLiteConverter.convert`` raises.

    ``tensorflow.lite.python.convert_phase.ConverterError``, seen in TensorFlow 2.21.0. It has no public name.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    error: type[Exception] = ConverterError
    return error
