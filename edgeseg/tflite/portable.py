"""Replace the op of MediaPipe's segmentation files that only XNNPACK has by one of TFLite's own.

    Given:   y = Convolution2DTransposeBias(x, weights, bias)     x (1, h, w, C), weights (K, kh, kw, C), bias (K,)
    Result:  y = TRANSPOSE_CONV(shape of y, weights, x, bias)     version 3 of the op, the first with a bias

The two are one operation: XNNPACK, in LiteRT, makes the same deconvolution of both. Without XNNPACK the first one ends
with an unresolved custom op: in tflite-runtime, on a GPU, in a converter.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgeseg.errors import InputError
from edgeseg.tflite.graph import op_name, read_graph
from edgeseg.tflite.litert_internals import load_schema, to_bytes

#: MediaPipe's op.
CUSTOM_OP = "Convolution2DTransposeBias"

# The custom op's options are TFLite's struct TfLiteTransposeConvParams as it was in 2021: padding and two strides.
_OPTIONS = struct.Struct("<iii")
_PADDINGS = {1: "SAME", 2: "VALID"}


def make_portable(data: bytes) -> bytes:
    """Return a model without MediaPipe's own op; one that does not have it is returned as it is.

    Args:
        data: a whole ``.tflite`` file.

    Raises:
        InputError: the file is broken, or has the op in another form than MediaPipe's files.
        BackendUnavailable: ai-edge-litert is not installed.
    """
    graph = read_graph(data)
    nodes = [node for node in graph.nodes if node.op == CUSTOM_OP]
    if not nodes:
        return data
    schema, model = load_schema(), graph.model
    subgraph = model.subgraphs[0]
    for node in nodes:
        operator = subgraph.operators[node.index]
        if len(node.inputs) != 3 or len(node.outputs) != 1 or operator.customOptions is None:
            raise InputError(f"the model's {CUSTOM_OP} is not MediaPipe's: {len(node.inputs)} inputs, where it has 3.")
        image, weights, bias = node.inputs
        shape = np.array(graph.tensors[node.outputs[0]].shape, np.int32)
        operator.inputs = [_add_constant(model, shape), weights, image, bias]
        operator.builtinOptionsType = schema.BuiltinOptions.TransposeConvOptions
        operator.builtinOptions = _options(bytes(bytearray(operator.customOptions)))
        operator.customOptions = None
    for code in model.operatorCodes:
        if op_name(code) == CUSTOM_OP:
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE_CONV
            code.version, code.customCode = 3, None
    return to_bytes(model)


def _options(custom: bytes) -> Any:
    """Return the options of the op that replaces it."""
    schema = load_schema()
    if len(custom) != _OPTIONS.size:
        raise InputError(f"the options of {CUSTOM_OP} have {len(custom)} bytes; MediaPipe's have {_OPTIONS.size}.")
    padding, width, height = _OPTIONS.unpack(custom)
    if padding not in _PADDINGS or min(width, height) < 1:
        raise InputError(f"the options of {CUSTOM_OP} are no padding and strides: {padding}, {width}, {height}.")
    options = schema.TransposeConvOptionsT()
    options.padding = getattr(schema.Padding, _PADDINGS[padding])
    options.strideW, options.strideH = width, height
    return options


def _add_constant(model: Any, values: np.ndarray[Any, np.dtype[np.int32]]) -> int:
    """Append a constant tensor of int32 to the main graph and return its number."""
    schema = load_schema()
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(values.astype("<i4").tobytes(), np.uint8)
    tensor.type, tensor.shape, tensor.buffer = schema.TensorType.INT32, list(values.shape), len(model.buffers)
    tensor.name = b"output_shape"
    model.buffers.append(buffer)
    tensors = model.subgraphs[0].tensors
    tensors.append(tensor)
    return len(tensors) - 1
