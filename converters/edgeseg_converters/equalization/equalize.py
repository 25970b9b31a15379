"""Equalize the channels of a float file of either format."""

from __future__ import annotations

import logging

import numpy as np

from edgeseg.choices import Format
from edgeseg.runtime import open_artifact
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.equalization.onnx_network import OnnxNetwork
from edgeseg_converters.equalization.scales import choose_factors
from edgeseg_converters.equalization.tflite_network import TfliteNetwork

_log = logging.getLogger(__name__)

#: The largest value of a channel is near its range on a few images already.
NUM_IMAGES = 16

# Images that the result is proven on.
_NUM_PROVEN = 2


def equalize(data: bytes, file_format: Format, images: CalibrationSet, spec: ModelSpec) -> bytes:
    """Return a file that computes the same to the bit, the channels of whose maps have similar ranges.

    Below a ReLU6 it is the same as long as no channel exceeds twice its largest value on the images; see ``scales``.
    The two files are compared on two of the images.

    Args:
        data: a float32 file whose input takes values 0 to 255.
        file_format: ``tflite`` or ``onnx``.
        images: to measure the channels on; the first ``NUM_IMAGES``.
        spec: how to feed it; the layout is obeyed.

    Returns:
        The file itself where nothing can be scaled, and, with a warning, where the result would not be the same.
    """
    network = TfliteNetwork(data) if file_format == "tflite" else OnnxNetwork(data, spec.layout)
    if not network.channels.free():
        return data
    measured = images.first(NUM_IMAGES)
    network.scale(choose_factors(network, network.largest(measured, spec)))
    equalized = network.write()
    if _same(data, equalized, file_format, measured.first(_NUM_PROVEN), spec):
        return equalized
    _log.warning("'%s' is quantized as it is; please report that equalizing its channels would change it", spec.name)
    return data


def _same(before: bytes, after: bytes, file_format: Format, images: CalibrationSet, spec: ModelSpec) -> bool:
    """Return whether two files give the same outputs, bit for bit."""
    opened = [open_artifact(data, file_format) for data in (before, after)]
    try:
        for tensor in images.tensors(spec):
            fed = tensor.transpose(0, 3, 1, 2) if spec.layout == "nchw" else tensor
            first, second = (np.array(backend.run(np.ascontiguousarray(fed))) for backend in opened)
            if not np.array_equal(first, second, equal_nan=first.dtype.kind == "f"):
                return False
    finally:
        for backend in opened:
            backend.close()
    return True
