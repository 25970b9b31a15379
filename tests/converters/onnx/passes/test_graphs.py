"""``biases``, ``constants``, ``float16``, ``integer_input``, ``taps``, ``edgeseg_converters.onnx.file``."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgeseg_converters.onnx.file import read, to_proto, write
from edgeseg_converters.onnx.passes import FLOAT16, float16
from edgeseg_converters.onnx.passes.biases import AddComputedBiases
from edgeseg_converters.onnx.passes.constants import arrays_of
from edgeseg_converters.onnx.passes.integer_input import TakeBytes
from edgeseg_converters.onnx.passes.normalizations import NormalizationsToConvolutions
from edgeseg_converters.onnx.passes.taps import ReturnExtremes, ReturnLogits, ReturnValues

_HEADER = '<ir_version: 8, opset_import: ["" : 17]> tiny'


def _graph(text: str) -> bytes:
    return onnx.parser.parse_model(_HEADER + text).SerializeToString()


def _ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def _run(data: bytes, x: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    results: list[NDArray[np.generic]] = session.run(None, {session.get_inputs()[0].name: x})
    return results


def _noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_computed_bias_is_added_and_the_output_keeps_its_name() -> None:
    data = _graph("""(float[1,2,3,3] x) => (float[1,2,3,3] y)
        <float[2,2,1,1] w = {1, 2, 3, 4}, float[2] b = {5, 6}> { c = Neg(b)  y = Conv(x, w, c) }""")
    result = AddComputedBiases()(read(data))
    assert result.modified
    assert _ops(result.model) == ["Neg", "Conv", "Unsqueeze", "Add"]
    x = _noise(1, 2, 3, 3)
    # A sum of three in another order.
    np.testing.assert_allclose(_run(write(result.model), x)[0], _run(data, x)[0], rtol=0, atol=1e-6)


def test_a_constant_bias_stays() -> None:
    data = _graph("""(float[1,1,3,3] x) => (float[1,1,3,3] y)
        <float[1,1,1,1] w = {2}, float[1] b = {5}> { y = Conv(x, w, b) }""")
    assert not AddComputedBiases()(read(data)).modified


@pytest.mark.parametrize(
    ("scale", "ops"), [(1, ["DequantizeLinear"]), (2, ["Cast", "QuantizeLinear", "DequantizeLinear"])]
)
def test_bytes_are_taken_as_they_are_or_cast(scale: int, ops: list[str]) -> None:
    data = _graph(f"""(float[1,4] image) => (float[1,4] y) <float s = {{{scale}}}, uint8 z = {{0}}>
        {{ q = QuantizeLinear(image, s, z)  y = DequantizeLinear(q, s, z) }}""")
    model = TakeBytes()(read(data)).model
    assert _ops(model) == ops
    image = np.array([[0, 2, 100, 254]], np.uint8)
    np.testing.assert_array_equal(_run(write(model), image)[0], image.astype(np.float32))


def test_a_normalization_is_a_depthwise_convolution() -> None:
    data = _graph("""(float[1,2,3,3] x) => (float[1,2,3,3] y)
        <float[2] g = {1, 2}, float[2] b = {3, 4}, float[2] m = {0.5, -1}, float[2] v = {1, 4}>
        { y = BatchNormalization(x, g, b, m, v) }""")
    result = NormalizationsToConvolutions()(read(data))
    assert result.modified
    (conv,) = result.model.graph
    assert (conv.op_type, conv.attributes.get_int("group"), conv.inputs[1].shape) == ("Conv", 2, ir.Shape([2, 1, 1, 1]))
    x = _noise(1, 2, 3, 3)
    # The scale and the mean are multiplied beforehand: one rounding of a value near 4.
    np.testing.assert_allclose(_run(write(result.model), x)[0], _run(data, x)[0], rtol=0, atol=1e-6)


def test_what_is_no_constant_is_named() -> None:
    data = _graph("""(float[2] g) => (float[1,2,1,1] y) <float[1,2,1,1] x = {1, 2}, float[2] o = {1, 1}>
        { y = BatchNormalization(x, g, o, o, o) }""")
    with pytest.raises(ir.passes.PassError, match="inputs 1 to 4 of BatchNormalization"):
        arrays_of(read(data).graph[0], 1, 5)


def test_half_precision_is_sorted_and_casts_a_value_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX Runtime 1.30 does it: a cast of the same name for each Min and Max, after the nodes that read it."""
    data = _graph("""(float[1,4] x) => (float[1,4] y) <float[1] low = {0}, float[1] high = {6}>
        { r = Relu(x)  a = Min(r, high)  b = Max(r, low)  y = Sub(a, b) }""")
    convert = float16.convert_float_to_float16

    def twice(model: onnx.ModelProto, **options: bool) -> onnx.ModelProto:
        converted = convert(model, **options)
        converted.graph.node.extend([node for node in converted.graph.node if node.name == "r_cast_to_fp32_node"][:1])
        return converted

    monkeypatch.setattr(float16, "convert_float_to_float16", twice)
    model = FLOAT16(read(data)).model
    assert sum(node.op_type == "Cast" and node.inputs[0].name == "r" for node in model.graph) == 1
    x = np.array([[-1, 0.5, 6, 7]], np.float32)
    np.testing.assert_array_equal(_run(write(model), x)[0], _run(data, x)[0])  # all of them are float16 numbers


def test_a_model_is_measured_inside() -> None:
    data = _graph("""(float[1,3,2,2] x) => (int64[1,2,2] y) { l = Neg(x)  y = ArgMax<axis = 1, keepdims = 0>(l) }""")
    x = _noise(1, 3, 2, 2)
    np.testing.assert_array_equal(_run(write(ReturnLogits()(read(data)).model), x)[0], -x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(_run(write(ReturnValues(["l", "x"])(read(data)).model), x), [-x, x])
    extremes = _run(write(ReturnExtremes(["l", "x"])(read(data)).model), x)
    np.testing.assert_array_equal(extremes, [(-x).min(), x.min(), (-x).max(), x.max()])


def test_logits_are_asked_of_a_class_map_only() -> None:
    data = _graph("(float[1,3] x) => (float[1,3] y) { y = Neg(x) }")
    with pytest.raises(ir.passes.PreconditionError, match="not a class map"):
        ReturnLogits()(read(data))


def test_a_file_that_was_written_here_is_written_the_same_again() -> None:
    data = _graph("(float[1,3] x) => (float[1,3] y) <float[1,3] c = {1, 2, 3}> { y = Add(x, c) }")
    written = write(read(data))
    onnx.checker.check_model(written, full_check=True)
    assert write(read(written)) == written
    assert not to_proto(read(data)).graph.value_info  # the constant says itself what it is
    x = _noise(1, 3)
    np.testing.assert_array_equal(_run(written, x), _run(data, x))


def test_a_model_that_is_written_holds_no_file_in_memory() -> None:
    """Its graph is full of cycles, which may live for long."""
    model = read(_graph("(float[1,3] x) => (float[1,3] y) <float[1,3] c = {1, 2, 3}> { y = Add(x, c) }"))
    write(model)
    assert model.graph.initializers["c"].const_value is None
