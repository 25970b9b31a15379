"""The kernels of a runtime, held against the runtime itself."""

from __future__ import annotations

import platform

import numpy as np
import onnxruntime as ort
import pytest
from keras import ops
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeseg.training.quantization.kernels import exact_sum, product
from edgeseg.training.quantization.scheme import Grid, Scheme


def _of_every_pair_of_bytes(
    op: str, scales: NDArray[np.float32], zeros: NDArray[np.uint8]
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return all pairs, and what ONNX Runtime's op makes of them."""
    given = [np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2)]
    constants = [numpy_helper.from_array(scale, f"scale{i}") for i, scale in enumerate(scales)]
    constants += [numpy_helper.from_array(zero, f"zero{i}") for i, zero in enumerate(zeros)]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, given[0].shape) for name in ("a", "b", "result")]
    inputs = ["a", "scale0", "zero0", "b", "scale1", "zero1", "scale2", "zero2"]
    node = helper.make_node(op, inputs, ["result"], domain="com.microsoft")
    graph = helper.make_graph([node], "pairs", values[:2], values[2:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, dict(zip("ab", given, strict=True)))
    return given, expected


def _grids(scales: NDArray[np.float32], zeros: NDArray[np.uint8]) -> list[Grid]:
    least = -zeros.astype(np.float32)
    return [Grid(scale, low, low + 255) for scale, low in zip(scales, least, strict=True)]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have another kernel")
@pytest.mark.parametrize("seed", range(8))
def test_a_sum_is_that_of_onnx_runtime_for_every_pair_of_bytes(seed: int) -> None:
    random = np.random.default_rng(seed)
    scales, zeros = random.uniform(0.01, 0.1, 3).astype(np.float32), random.integers(0, 256, 3).astype(np.uint8)
    given, expected = _of_every_pair_of_bytes("QLinearAdd", scales, zeros)
    grids = _grids(scales, zeros)
    numbers = [x + grid.least for x, grid in zip(given, grids, strict=False)]
    total = ops.convert_to_numpy(exact_sum(numbers, grids[:2], grids[2], Scheme("int8", "onnx")))
    np.testing.assert_array_equal(np.clip(total - grids[2].least, 0, 255), expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("of_a_swish", [True, False])
def test_a_product_is_that_of_onnx_runtime_for_every_pair_of_bytes(seed: int, of_a_swish: bool) -> None:
    random = np.random.default_rng(seed)
    scales, zeros = random.uniform(0.01, 0.1, 3).astype(np.float32), random.integers(0, 256, 3).astype(np.uint8)
    if of_a_swish:  # of a number and its sigmoid; every 256th product is a half
        scales[1], scales[2], zeros[1] = 1 / 256, scales[0], 0
    given, expected = _of_every_pair_of_bytes("QLinearMul", scales, zeros)
    grids = _grids(scales, zeros)
    numbers = [x + grid.least for x, grid in zip(given, grids, strict=False)]
    result = ops.convert_to_numpy(ops.round(product(numbers, grids[:2], grids[2], Scheme("int8", "onnx"))))
    np.testing.assert_array_equal(np.clip(result - grids[2].least, 0, 255), expected)
