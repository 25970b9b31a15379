from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgeseg.models.packaged_files import find_file
from edgeseg.tflite.convolutions import read_convolutions
from edgeseg.tflite.litert_internals import op_details


def test_constants_are_those_that_the_interpreter_uses() -> None:
    """Of a file whose constants are packed in half precision."""
    data = find_file("person.fp16").read_bytes()
    interpreter = Interpreter(model_content=data, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    ops = [op for op in op_details(interpreter) if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    packed = {op["outputs"][0]: op["inputs"][0] for op in op_details(interpreter) if op["op_name"] == "DEQUANTIZE"}
    found = read_convolutions(data)
    assert len(found) == len(ops) > 40
    for convolution, op in zip(found, ops, strict=True):
        kernel, bias = (interpreter.get_tensor(packed[tensor]) for tensor in op["inputs"][1:])
        np.testing.assert_array_equal(convolution.kernel, kernel)
        np.testing.assert_array_equal(convolution.bias, bias)
        assert convolution.kernel.dtype == np.float16
        assert convolution.depthwise == (op["op_name"] == "DEPTHWISE_CONV_2D")
