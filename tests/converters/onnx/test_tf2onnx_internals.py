"""What we reach of tf2onnx without its documentation, and what to look for where it is gone."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx

from edgeseg_converters.onnx import tf2onnx_internals
from edgeseg_converters.onnx.missing_ops import HANDLERS

_PARAMETERS = {"name", "custom_op_handlers", "optimizers"}
_SETTINGS = {"continue_on_error", "input_names", "output_names", "opset", "inputs_as_nchw", "outputs_as_nchw"}
_GRAPH = ("get_shape", "get_dtype", "make_const", "make_node", "remove_node")


def _parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def _has(owner: object, name: str, replacement: str) -> Any:
    """The attribute, or a failure that says what to look for."""
    if not hasattr(owner, name):
        where = getattr(owner, "__name__", owner)
        pytest.fail(f"tf2onnx {version('tf2onnx')} has no {where}.{name}; seen in 1.17.0. Look for {replacement}.")
    return getattr(owner, name)


def test_the_conversion_takes_optimizers() -> None:
    instead = "a public conversion of a GraphDef that takes optimizers, or one that no longer copies the graph for each"
    convert = _has(tf2onnx.convert, "_convert_common", instead)
    assert _parameters(convert) >= _PARAMETERS, f"_convert_common takes other arguments; look for {instead}"
    settings = _parameters(tf2onnx.tfonnx.process_tf_graph) | {"tensors_to_rename"}
    assert settings >= _SETTINGS, "process_tf_graph takes other arguments; look for what from_graph_def passes to it"


def test_optimizers_are_named_factories() -> None:
    get = _has(tf2onnx.optimizer, "_get_optimizers", "the table of optimizers that optimize_graph reads")
    assert get(), "there are no optimizers; look for the table that optimize_graph reads"
    assert all(isinstance(name, str) and callable(factory) for name, factory in get().items())
    taken = _parameters(tf2onnx.optimizer.optimize_graph)
    assert "optimizers" in taken, "optimize_graph takes no optimizers; look for where it gets them from"


def test_a_graph_is_prepared_as_by_from_graph_def() -> None:
    _has(tf2onnx.tf_loader, "tf_optimize", "what from_graph_def does to the graph before it converts it")
    _has(tf2onnx.verbose_logging, "set_scope_level", "Logger.setLevel in a context manager of ours")


def test_handlers_find_the_graph_they_edit() -> None:
    instead = "how tf2onnx's own handlers, in tf2onnx/onnx_opset, put nodes in place of one"
    for name in _GRAPH:
        _has(tf2onnx.graph.Graph, name, instead)
    for name in ("make_name", "map_onnx_to_numpy_type"):
        _has(tf2onnx.utils, name, instead)


def test_all_of_it_together(caplog: pytest.LogCaptureFixture) -> None:
    """A graph of an op that has a handler, one of XLA's functions and one that tf2onnx does not know."""

    @tf.function(jit_compile=True)
    def compiled(x: tf.Tensor) -> tf.Tensor:
        return x + 1.0

    @tf.function(input_signature=[tf.TensorSpec((1, 4))])
    def function(x: tf.Tensor) -> tf.Tensor:
        return compiled(tf.math.erfc(x))

    concrete = function.get_concrete_function()
    (source,), (result,) = concrete.inputs, concrete.outputs
    graph_def = tf2onnx_internals.optimize(concrete.graph.as_graph_def(), source.name, result.name)
    assert not [node.op for node in graph_def.node if "PartitionedCall" in node.op], (
        "functions that ask for XLA are kept; look for the attributes that Keras' grouped Conv2D has"
    )
    model = tf2onnx_internals.convert(
        graph_def, HANDLERS, input_names=[source.name], output_names=[result.name], opset=17
    )
    assert isinstance(model, onnx.ModelProto)
    assert "Erf" in [node.op_type for node in model.graph.node]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(-1, 1, 4, dtype=np.float32)[None]
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(got, function(x), rtol=0, atol=1e-6)  # two libraries' erf differ by some ulp


def test_the_loggers_are_quiet_for_a_while_only() -> None:
    loggers = [logging.getLogger("tf2onnx"), tf.get_logger()]
    before = [logger.level for logger in loggers]
    with tf2onnx_internals.quiet():
        assert [logger.level for logger in loggers] == [logging.CRITICAL, logging.ERROR]
    assert [logger.level for logger in loggers] == before
