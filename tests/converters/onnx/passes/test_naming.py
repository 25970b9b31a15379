from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.passes.naming import RenumberNames

IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, 4)).astype(np.float32)


def counted(names: Mapping[str, str], order: list[str]) -> bytes:
    """Two additions, with tf2onnx's names as one run counts them and its constants in the order of a set."""
    constants = {"a": np.float32([1, 2, 3, 4]), "b": np.float32([5, 6, 7, 8])}
    nodes = [
        helper.make_node("Add", ["image", names["a"]], [names["sum"]], name=names["node"]),
        helper.make_node("Add", [names["sum"], names["b"]], ["result"], name="block/last"),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("image", "result")]
    tensors = [numpy_helper.from_array(constants[key], names[key]) for key in order]
    graph = helper.make_graph(nodes, "tiny", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def renumbered(data: bytes) -> bytes:
    return write(RenumberNames()(read(data)).model)


@pytest.fixture
def runs() -> tuple[bytes, bytes]:
    """The same graph as two runs of tf2onnx write it: the second has the first one's numbers for other values."""
    one = {"a": "x/const__7", "b": "y/const__2", "sum": "x/add__9", "node": "x/add__9"}
    other = {"a": "y/const__2", "b": "x/const__7", "sum": "x/add__0", "node": "x/add__1"}
    return counted(one, ["a", "b"]), counted(other, ["b", "a"])


def test_two_runs_of_the_exporter_give_the_same_bytes(runs: tuple[bytes, bytes]) -> None:
    assert runs[0] != runs[1]
    assert renumbered(runs[0]) == renumbered(runs[1])


def test_what_it_computes_and_what_people_read_stays(runs: tuple[bytes, bytes]) -> None:
    for data in runs:
        made = renumbered(data)
        onnx.checker.check_model(onnx.load_from_string(made))
        (before,), (after,) = (onnxruntime.InferenceSession(d).run(None, {"image": IMAGE}) for d in (data, made))
        np.testing.assert_array_equal(after, before)
    graph = onnx.load_from_string(renumbered(runs[0])).graph
    assert [tensor.name for tensor in graph.initializer] == ["const__0", "const__1"]  # by first use
    assert [node.name for node in graph.node] == ["x/add__3", "block/last"]
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "result"]
