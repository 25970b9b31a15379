"""Give the normalized image the range whose integers are the bytes of the image.

A file that takes bytes normalizes them by a 1x1 depthwise convolution, whose result calibration sees as any other
activation. Its range is known: what 0 and 255 become. Where all channels are normalized alike, a step of the integers
is then a step of the bytes, nothing is rounded, and ``integer_io`` omits the convolution.
"""

from __future__ import annotations

import numpy as np

from edgeseg.training.quantization.scheme import byte_of_zero
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.tflite.graph import FloatConstants, TfliteGraph

_LAST = 255


def with_bytes(ranges: Ranges, data: bytes) -> Ranges:
    """Return the ranges with that of the normalized image, which is known.

    Args:
        ranges: of the tensors of the file.
        data: a float ``.tflite`` file whose input takes values 0 to 255.

    Returns:
        ``ranges``, where the file normalizes in another way, or each channel in its own.
    """
    graph = TfliteGraph.read(data)
    (image,) = graph.inputs
    readers = graph.readers(image)
    if len(readers) != 1 or graph.op_name(readers[0]) != "DEPTHWISE_CONV_2D":
        return ranges
    (op,) = readers
    constants = FloatConstants(graph)
    weights, biases = (constants.value(int(tensor)).ravel() for tensor in op.inputs[1:3])
    name = graph.tensor_name(op.outputs[0])
    gain, bias = float(weights[0]), float(biases[0])
    alike = np.all(weights == gain) and np.all(biases == bias)
    if weights.size != 3 or not alike or gain <= 0 or name not in ranges.low:
        return ranges
    zero = byte_of_zero(-bias / gain)
    if not 0 <= zero <= _LAST:
        return ranges
    low, high = (np.array([(end - zero) * gain], np.float32) for end in (0, _LAST))
    return Ranges({**ranges.low, name: low}, {**ranges.high, name: high})
