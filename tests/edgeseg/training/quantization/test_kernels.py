"""The kernels of a runtime, held against the runtime itself."""

from __future__ import annotations

import platform

import numpy as np
import onnxruntime as ort
import pytest
from keras import ops
from onnx import TensorProto, helper, numpy_helper

from edgeseg.training.quantization.kernels import exact_sum
from edgeseg.training.quantization.scheme import Grid, Scheme


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have another kernel")
@pytest.mark.parametrize("seed", range(8))
def test_a_sum_is_that_of_onnx_runtime_for_every_pair_of_bytes(seed: int) -> None:
    random = np.random.default_rng(seed)
    scales, zeros = random.uniform(0.01, 0.1, 3).astype(np.float32), random.integers(0, 256, 3).astype(np.uint8)
    first, second = (np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2))
    constants = [numpy_helper.from_array(scale, f"scale{i}") for i, scale in enumerate(scales)]
    constants += [numpy_helper.from_array(zero, f"zero{i}") for i, zero in enumerate(zeros)]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, first.shape) for name in ("a", "b", "sum")]
    inputs = ["a", "scale0", "zero0", "b", "scale1", "zero1", "scale2", "zero2"]
    node = helper.make_node("QLinearAdd", inputs, ["sum"], domain="com.microsoft")
    graph = helper.make_graph([node], "sum", values[:2], values[2:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    (expected,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"a": first, "b": second})

    least = -zeros.astype(np.float32)
    grids = [Grid(scale, low, low + 255) for scale, low in zip(scales, least, strict=True)]
    given = [first + least[0], second + least[1]]
    total = ops.convert_to_numpy(exact_sum(given, grids[:2], grids[2], Scheme("int8", "onnx")))
    np.testing.assert_array_equal(np.clip(total - least[2], 0, 255), expected)
