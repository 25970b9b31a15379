"""Read the kernels and biases of the convolutions of a ``.tflite`` file, in the order of execution.

With the standard library and numpy alone, like ``edgeseg.tflite.file``, whose field numbers these are, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseg.tflite.file import DTYPES, field, integers, read_tensor, string, tables, uint32

_MODEL_OPERATOR_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_CODE_DEPRECATED = 0
_TENSOR_BUFFER = 2
_BUFFER_DATA = 0

# Of TFLite's ``BuiltinOperator``.
_CONV_2D, _DEPTHWISE_CONV_2D, _DEQUANTIZE = 3, 4, 6


@dataclass(frozen=True, eq=False)
class Convolution:
    """The constants of a convolution.

    Attributes:
        kernel: ``(out, h, w, in)``; of a depthwise one ``(1, h, w, out)``.
        bias: ``(out,)``.
        depthwise: whether each channel has a filter of its own.
    """

    kernel: NDArray[np.generic]
    bias: NDArray[np.generic]
    depthwise: bool


def read_convolutions(data: bytes) -> list[Convolution]:
    """Return the convolutions of the first graph, whose kernels and biases must be constants.

    Args:
        data: a whole ``.tflite`` file that was verified.
    """
    model = uint32(data, 0)
    graph = tables(data, model, _MODEL_SUBGRAPHS)[0]
    codes = [_builtin(data, table) for table in tables(data, model, _MODEL_OPERATOR_CODES)]
    packed: dict[int, int] = {}
    found = []
    for op in tables(data, graph, _SUBGRAPH_OPERATORS):
        code_at = field(data, op, _OPERATOR_CODE)
        code = codes[0 if code_at is None else uint32(data, code_at)]
        inputs, outputs = (integers(data, op, number) for number in (_OPERATOR_INPUTS, _OPERATOR_OUTPUTS))
        if code == _DEQUANTIZE:  # constants in half precision are unpacked by an op of their own
            packed[outputs[0]] = inputs[0]
        elif code in (_CONV_2D, _DEPTHWISE_CONV_2D):
            kernel, bias = (_constant(data, packed.get(tensor, tensor)) for tensor in inputs[1:])
            found.append(Convolution(kernel=kernel, bias=bias, depthwise=code == _DEPTHWISE_CONV_2D))
    return found


def _builtin(data: bytes, table: int) -> int:
    """Return the number of an op; the codes here are below 127, for which the old 8-bit field has it in every file."""
    at = field(data, table, _CODE_DEPRECATED)
    return 0 if at is None else data[at]


def _constant(data: bytes, tensor: int) -> NDArray[np.generic]:
    """Return the content of a constant tensor."""
    model = uint32(data, 0)
    table = tables(data, tables(data, model, _MODEL_SUBGRAPHS)[0], _SUBGRAPH_TENSORS)[tensor]
    buffer_at = field(data, table, _TENSOR_BUFFER)
    buffer = tables(data, model, _MODEL_BUFFERS)[0 if buffer_at is None else uint32(data, buffer_at)]
    _, shape, kind = read_tensor(data, tensor)
    return np.frombuffer(string(data, buffer, _BUFFER_DATA), DTYPES[kind]).reshape(shape)
