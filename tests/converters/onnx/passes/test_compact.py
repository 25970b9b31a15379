"""``zero_points``, and what is run after it: a quantized graph with less written, that computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgeseg_converters.onnx.file import to_proto
from edgeseg_converters.onnx.passes import COMPACT
from edgeseg_converters.onnx.passes.naming import NameNodesByOutput

IMAGE = {"image": np.random.default_rng(1).uniform(0, 127, (1, 4, 5, 6)).astype(np.float32)}


def quantized(**renamed: str) -> onnx.ModelProto:
    """An image of four channels, quantized with the zero points 0 and 3, through a convolution of three filters."""
    rng = np.random.default_rng(0)
    constants = {
        "image_scale": np.float32(0.5),
        "image_zero_point": np.uint8(0),
        "weight_quantized": rng.integers(-127, 128, (3, 4, 1, 1)).astype(np.int8),
        "weight_scale": rng.uniform(0.01, 0.1, 3).astype(np.float32),
        "weight_zero_point": np.zeros(3, np.int8),
        "bias_quantized": rng.integers(-1000, 1000, 3).astype(np.int32),
        "bias_scale": np.full(3, 0.02, np.float32),
        "bias_zero_point": np.zeros(3, np.int32),
        "result_scale": np.float32(0.7),
        "result_zero_point": np.uint8(3),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "image_scale", "image_zero_point"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "image_scale", "image_zero_point"], ["x"]),
        *(
            helper.make_node("DequantizeLinear", [f"{n}_quantized", f"{n}_scale", f"{n}_zero_point"], [n], axis=0)
            for n in ("weight", "bias")
        ),
        helper.make_node("Conv", ["x", "weight", "bias"], ["y"], name="conv"),
        helper.make_node("QuantizeLinear", ["y", "result_scale", "result_zero_point"], ["yq"], name="quantizer"),
        helper.make_node("DequantizeLinear", ["yq", "result_scale", "result_zero_point"], ["result"]),
    ]
    for node in nodes:
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.input[:] = [renamed.get(name, name) for name in node.input]
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 5, 6]) for n, c in (("image", 4), ("result", 3))
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(model)
    result: np.ndarray = onnxruntime.InferenceSession(model.SerializeToString()).run(None, IMAGE)[0]
    return result


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    return to_proto(COMPACT(ir.from_proto(model)).model)


def test_less_is_written_and_the_same_is_computed() -> None:
    model = quantized()
    expected, size = run(model), model.ByteSize()
    model = compact(model)
    np.testing.assert_array_equal(run(model), expected)
    assert model.ByteSize() < size - 150
    ends = {node.op_type: node for node in model.graph.node}
    # Unsigned zero points stay, 0 or not: they say that what is quantized is uint8.
    assert [len(n.input) for n in model.graph.node if n.op_type == "QuantizeLinear"] == [3, 3]
    assert len(ends["DequantizeLinear"].input) == 3
    assert ends["Conv"].name == "conv"
    assert sum(tensor.data_type == TensorProto.INT8 for tensor in model.graph.initializer) == 1


def test_a_name_that_is_taken_is_not_given_again() -> None:
    model = quantized(y="c0", yq="c_2")
    expected = run(model)
    model = compact(model)
    np.testing.assert_array_equal(run(model), expected)
    assert {"c0", "c_2"} <= {name for node in model.graph.node for name in node.output}


def test_a_subgraph_reads_the_shorter_names() -> None:
    model = quantized()
    inner = helper.make_graph(
        [helper.make_node("Identity", ["weight_scale"], ["c_inner"])],
        "inner",
        [],
        [helper.make_tensor_value_info("c_inner", TensorProto.FLOAT, [3])],
    )
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    model.graph.node.extend([yes, helper.make_node("If", ["yes"], ["either"], then_branch=inner, else_branch=inner)])
    model.graph.output.append(helper.make_tensor_value_info("either", TensorProto.FLOAT, [3]))
    expected, scales = run(model), onnxruntime.InferenceSession(model.SerializeToString()).run(["either"], IMAGE)
    model = compact(model)
    np.testing.assert_array_equal(run(model), expected)
    np.testing.assert_array_equal(
        onnxruntime.InferenceSession(model.SerializeToString()).run(["either"], IMAGE), scales
    )
    assert not {tensor.name for tensor in model.graph.initializer} & {"weight_scale", "c_inner"}


def test_nodes_are_named_by_their_first_output() -> None:
    result = NameNodesByOutput()(ir.from_proto(quantized()))
    assert result.modified
    assert all(node.name == node.outputs[0].name for node in result.model.graph)
    assert not NameNodesByOutput()(result.model).modified
