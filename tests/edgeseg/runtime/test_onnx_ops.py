from __future__ import annotations

import sys

import onnx
import pytest

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime.onnx_ops import OnnxOp, ops_of, read_ops

_TEXT = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> tiny (float[1,1,4,4] x) => (float[1,1,2,2] y) {
    g = com.microsoft.Gelu(x)
    y, i = MaxPool<auto_pad = "VALID", kernel_shape = [2, 2], strides = [2, 2], storage_order = 0>(g)
}"""


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(_TEXT)


def test_ops_and_whose_they_are(model: onnx.ModelProto) -> None:
    read = read_ops(model.SerializeToString())
    assert read == ops_of(model)
    assert read.opsets == {"": 17, "com.microsoft": 1}
    gelu, pool = read.ops
    assert gelu == OnnxOp(name="Gelu", domain="com.microsoft", inputs=("x",), outputs=("g",), attributes={})
    assert (pool.name, pool.domain, pool.outputs) == ("MaxPool", "", ("y", "i"))
    assert pool.attributes == {"auto_pad": "VALID", "kernel_shape": [2, 2], "strides": [2, 2], "storage_order": 0}


def test_the_most_frequent_op_is_counted_first(model: onnx.ModelProto) -> None:
    for index in range(2):
        model.graph.node.append(onnx.helper.make_node("Relu", ["y"], [f"r{index}"]))
    assert next(iter(ops_of(model).counts().items())) == ("Relu", 2)


def test_other_bytes_are_refused() -> None:
    with pytest.raises(InputError, match="not an ONNX model"):
        read_ops(b"\xff" * 20)


def test_a_device_without_the_package_says_what_to_install(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendUnavailable, match=r"edgeseg\[convert\]"):
        read_ops(model.SerializeToString())
