"""Equalize the channels of a float file of either format."""

from __future__ import annotations

from edgeseg.choices import Format
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.equalization.onnx_network import OnnxNetwork
from edgeseg_converters.equalization.scales import choose_factors
from edgeseg_converters.equalization.tflite_network import TfliteNetwork

#: The largest value of a channel is near its range on a few images already.
NUM_IMAGES = 16


def equalize(data: bytes, file_format: Format, images: CalibrationSet, spec: ModelSpec) -> bytes:
    """Return a file that computes the same to the bit, the channels of whose maps have similar ranges.

    Below a ReLU6 it is the same as long as no channel exceeds twice its largest value on the images; see ``scales``.

    Args:
        data: a float32 file whose input takes values 0 to 255.
        file_format: ``tflite`` or ``onnx``.
        images: to measure the channels on; the first ``NUM_IMAGES``.
        spec: how to feed it; the layout is obeyed.

    Returns:
        The file itself where nothing can be scaled.
    """
    network = TfliteNetwork(data) if file_format == "tflite" else OnnxNetwork(data, spec.layout)
    if not network.channels.free():
        return data
    network.scale(choose_factors(network, network.largest(images.first(NUM_IMAGES), spec)))
    return network.write()
