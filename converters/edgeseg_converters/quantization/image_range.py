"""Give the normalized image the range whose integers are the bytes of the image.

A file that takes bytes normalizes them by a 1x1 depthwise convolution, whose result calibration sees as any other
activation. Its range is known: what 0 and 255 become. Where all channels are normalized alike, a step of the integers
is then a step of the bytes, nothing is rounded, and the convolution is omitted: by ``tflite.integer_io`` and by
``onnx.passes.integer_input``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg.training.quantization.scheme import byte_of_zero
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.onnx.file import read
from edgeseg_converters.onnx.passes import PREPARE_TO_QUANTIZE
from edgeseg_converters.onnx.passes.constants import array_of
from edgeseg_converters.tflite.graph import FloatConstants, TfliteGraph

_LAST = 255


@dataclass(frozen=True)
class _Normalization:
    """What a file makes of bytes first.

    Attributes:
        name: of the result.
        gains: of each channel.
        biases: likewise, which are added.
    """

    name: str
    gains: NDArray[Any]
    biases: NDArray[Any]


def with_bytes(ranges: Ranges, data: bytes, file_format: Format) -> Ranges:
    """Return the ranges with that of the normalized image, which is known.

    Args:
        ranges: of the tensors of the file.
        data: a float file whose input takes values 0 to 255.
        file_format: ``tflite`` or ``onnx``.

    Returns:
        ``ranges``, where the file normalizes in another way, or each channel in its own.
    """
    found = _in_tflite(data) if file_format == "tflite" else _in_onnx(data)
    if found is None or found.name not in ranges.low:
        return ranges
    gain, bias = float(found.gains[0]), float(found.biases[0])
    if not (np.all(found.gains == gain) and np.all(found.biases == bias) and gain > 0):
        return ranges
    zero = byte_of_zero(-bias / gain)
    if not 0 <= zero <= _LAST:
        return ranges
    low, high = (np.array([(end - zero) * gain], np.float32) for end in (0, _LAST))
    return Ranges({**ranges.low, found.name: low}, {**ranges.high, found.name: high})


def _in_tflite(data: bytes) -> _Normalization | None:
    graph = TfliteGraph.read(data)
    readers = graph.readers(graph.inputs[0])
    if len(readers) != 1 or graph.op_name(readers[0]) != "DEPTHWISE_CONV_2D":
        return None
    constants, (_, *tensors) = FloatConstants(graph), (int(tensor) for tensor in readers[0].inputs)
    if len(tensors) != 2 or not all(tensor in constants for tensor in tensors if tensor >= 0):
        return None
    if tuple(graph.tensors[tensors[0]].shape) != (1, 1, 1, 3):
        return None
    gains, biases = (constants.value(tensor).ravel() if tensor >= 0 else np.zeros(3) for tensor in tensors)
    return _Normalization(graph.tensor_name(readers[0].outputs[0]), gains, biases)


def _in_onnx(data: bytes) -> _Normalization | None:
    graph = PREPARE_TO_QUANTIZE(read(data)).model.graph
    value, node = graph.inputs[0], None
    while len(uses := tuple(value.uses())) == 1:
        node = uses[0].node
        if node.op_type != "Transpose":
            break
        value = node.outputs[0]
    if node is None or node.op_type != "Conv":
        return None
    gains, biases = array_of(node.inputs[1]), array_of(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(3)
    if gains is None or biases is None or gains.shape != (3, 1, 1, 1):
        return None
    return _Normalization(node.outputs[0].name or "", gains.ravel(), biases)
