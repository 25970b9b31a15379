"""What we reach of tf2onnx without its documentation, and what to look for where it is gone."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

_SETTINGS = {
    "custom_op_handlers",
    "continue_on_error",
    "input_names",
    "output_names",
    "opset",
    "inputs_as_nchw",
    "outputs_as_nchw",
}
_GRAPH = ("get_shape", "get_dtype", "make_const", "make_node", "remove_node")
_EDITED = ("get_nodes", "update_proto", "delete_unused_nodes", "topological_sort", "make_model")


def _parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def _has(owner: object, name: str, replacement: str) -> Any:
    """The attribute, or a failure that says what to look for."""
    if not hasattr(owner, name):
        where = getattr(owner, "__name__", owner)
        pytest.fail(f"tf2onnx {version('tf2onnx')} has no {where}.{name}; seen in 1.17.0. Look for {replacement}.")
    return getattr(owner, name)


@pytest.fixture(scope="module")
def graph_def() -> Any:
    """Two convolutions, which need transposes, with a normalization and a concatenation."""
    kernels = np.random.default_rng(0).standard_normal((2, 3, 3, 4, 4)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 4), name="image")])
    def function(image: tf.Tensor) -> tf.Tensor:
        inner = tf.nn.relu(tf.nn.conv2d(image, kernels[0], 1, "SAME") * [1.0, 2.0, 3.0, 4.0] + 0.5)
        paths = [tf.nn.max_pool2d(tf.nn.conv2d(inner, kernel, 1, "SAME"), 2, 2, "VALID") for kernel in kernels]
        return tf.identity(tf.concat(paths, -1), "result")

    return function.get_concrete_function().graph.as_graph_def()


def _converted(graph_def: Any) -> onnx.ModelProto:
    source, result = "image:0", "result:0"
    optimized = tf2onnx_internals.optimize(graph_def, source, result)
    return tf2onnx_internals.convert(optimized, {}, input_names=[source], output_names=[result], opset=17)


def _content(model: onnx.ModelProto) -> tuple[list[Any], list[bytes]]:
    """The nodes without the names, in any order, and the bytes of the weights."""
    nodes = [(node.op_type, sorted(str(value) for value in node.attribute)) for node in model.graph.node]
    return sorted(nodes), sorted(value.raw_data for value in model.graph.initializer)


def test_the_conversion_is_that_of_from_graph_def(graph_def: Any) -> None:
    instead = "what tf2onnx.convert._convert_common calls, and in which order"
    convert = _has(tf2onnx.tfonnx, "process_tf_graph", instead)
    settings = _parameters(convert)
    assert settings >= _SETTINGS, "process_tf_graph takes other arguments; look for what from_graph_def passes to it"
    for name in _EDITED:
        _has(tf2onnx.graph.Graph, name, instead)
    theirs, _ = tf2onnx.convert.from_graph_def(graph_def, input_names=["image:0"], output_names=["result:0"], opset=17)
    nodes, weights = _content(_converted(graph_def))
    assert len([op for op, _ in nodes if op == "Conv"]) == 3
    assert (nodes, weights) == _content(theirs), (
        "from_graph_def makes another model; compare tf2onnx.optimizer.optimize_graph with tf2onnx_internals._optimized"
    )


def test_optimizers_are_named_factories() -> None:
    get = _has(tf2onnx.optimizer, "_get_optimizers", "the table of optimizers that optimize_graph reads")
    assert get(), "there are no optimizers; look for the table that optimize_graph reads"
    for name, make in get().items():
        step = make()
        assert isinstance(name, str)
        for part in ("opt_iteration", "_optimize", "graph_been_opt"):
            _has(step, part, "what GraphOptimizerBase.optimize does around the optimization itself")


def test_copies_of_a_graph_share_the_constants_and_nothing_else(
    graph_def: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[tuple[list[Any], list[Any]]] = []
    copied = tf2onnx_internals._copied

    def noted(graph: Any) -> Any:
        made = copied(graph)
        copies.append(([*graph.get_nodes()], [*made.get_nodes()]))
        return made

    monkeypatch.setattr(tf2onnx_internals, "_copied", noted)
    _converted(graph_def)
    before, after = copies[0]
    constants = 0
    for old, new in zip(before, after, strict=True):
        assert old is not new
        assert old._attr is not new._attr
        assert (old._op is new._op) == old.is_const()
        constants += old.is_const()
    assert constants >= 2
    assert len(copies) < len(tf2onnx.optimizer._get_optimizers())  # which all ran twice


def test_an_optimizer_that_fails_changes_nothing(graph_def: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _content(_converted(graph_def))
    get = tf2onnx.optimizer._get_optimizers()

    class Fails(get["merge_duplication"]):  # type: ignore[misc]
        def _optimize(self, graph: Any) -> Any:
            for node in list(graph.get_nodes()):
                graph.remove_node(node.name)
            raise RuntimeError("halfway")

    monkeypatch.setitem(get, "fails", Fails)
    assert _content(_converted(graph_def)) == expected


def test_the_order_of_nodes_and_their_names_depend_on_the_graph_alone(graph_def: Any) -> None:
    number = _has(tf2onnx.utils, "INTERNAL_NAME", "the counter of utils.make_name")
    first = _converted(graph_def).SerializeToString()
    assert number == tf2onnx.utils.INTERNAL_NAME
    tf2onnx.utils.make_name("another")
    holes = [object() for _ in range(100_001)][::2]  # so that nodes are elsewhere in memory
    other = type(graph_def)()
    other.CopyFrom(graph_def)
    other.node.sort(key=lambda node: node.name, reverse=True)
    assert _converted(other).SerializeToString() == first
    assert holes
    assert not [module for module in sys.modules if module.startswith("tf2onnx") and "set" in vars(sys.modules[module])]


def test_conversions_in_two_threads_are_those_of_one(graph_def: Any) -> None:
    first, number = _converted(graph_def).SerializeToString(), tf2onnx.utils.INTERNAL_NAME
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: _converted(graph_def).SerializeToString(), range(4)))
    assert both == [first] * 4
    assert number == tf2onnx.utils.INTERNAL_NAME
    assert not [module for module in sys.modules if module.startswith("tf2onnx") and "set" in vars(sys.modules[module])]


def test_a_set_in_order_is_a_set() -> None:
    numbers = tf2onnx_internals._OrderedSet([3, 1, 3, 2])
    assert list(numbers) == [3, 1, 2]
    assert numbers == {1, 2, 3}
    assert list(numbers.union([5, 1])) == [3, 1, 2, 5]
    assert list(numbers.intersection([2, 3, 4])) == [3, 2]
    assert list(numbers - {1}) == [3, 2]
    assert numbers.issubset([1, 2, 3, 4])
    assert not numbers.issubset([1, 2])
    numbers.update([4, 3])
    numbers.discard(1)
    assert (numbers.pop(), list(numbers)) == (3, [2, 4])


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
