"""The private names of TensorFlow, each with where to look for its replacement when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

from edgeseg_converters.keras_model.tensorflow_internals import (
    converter_error,
    function_graph,
    replace_input,
    with_constants,
)


@contextmanager
def replacement(name: str, place: str) -> Iterator[None]:
    """Turn the failure of a private name into a sentence that says where TensorFlow may have it now."""
    try:
        yield
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        pytest.fail(
            f"TensorFlow {tf.__version__} has no {name} that works as in 2.21.0; look for its replacement in {place} "
            f"({error})"
        )


def test_converter_error() -> None:
    with replacement("convert_phase.ConverterError", "the traceback of a TFLiteConverter.convert that fails"):
        error = converter_error()
    function = tf.function(tf.math.betainc).get_concrete_function(
        *(tf.TensorSpec((2,), tf.float32, name) for name in "abx")
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    with pytest.raises(error, match="Betainc"):  # TFLite has no builtin for it
        converter.convert()


def test_func_graph() -> None:
    scale, signature = tf.Variable(3.0), tf.TensorSpec((2,), tf.float32, "x")
    with replacement("__internal__.FuncGraph", "what tf.function traces a Python function into"):
        graph = function_graph(lambda x: x * [1.0, 2.0], signature)
        assert not graph.captures
        assert function_graph(lambda x: x * scale, signature).captures
    (source,), (result,) = graph.inputs, graph.outputs
    assert (source.name, source.shape) == ("x:0", (2,))
    with tf.compat.v1.Session(graph=graph) as session:
        np.testing.assert_array_equal(session.run(result, {source.name: [1.0, 2.0]}), [1.0, 4.0])


def test_convert_variables_to_constants_v2() -> None:
    scale = tf.Variable(3.0)
    function = tf.function(lambda x: x * scale).get_concrete_function(tf.TensorSpec((2,), tf.float32))
    with replacement("convert_variables_to_constants_v2", "what TFLiteConverter.from_concrete_functions freezes with"):
        frozen = with_constants(function)
    assert function.captured_inputs and not frozen.captured_inputs
    (result,) = frozen(tf.constant([1.0, 2.0]))
    np.testing.assert_array_equal(result, [3.0, 6.0])


def test_operation_update_input() -> None:
    with tf.Graph().as_default() as graph:
        product = tf.constant([1.0, 2.0]) * tf.constant(3.0)
        with replacement("Operation._update_input", "TensorFlow's own control-flow code, which rewires graphs"):
            replace_input(product.op, 1, tf.constant(5.0))
    with tf.compat.v1.Session(graph=graph) as session:
        np.testing.assert_array_equal(session.run(product), [5.0, 10.0])
