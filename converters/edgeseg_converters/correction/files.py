"""Open a float file of either format by its convolutions."""

from __future__ import annotations

from edgeseg.choices import Format
from edgeseg_converters.correction.convolutions import ConvolutionFile
from edgeseg_converters.correction.onnx_convolutions import OnnxConvolutions
from edgeseg_converters.correction.tflite_convolutions import TfliteConvolutions


def open_convolutions(data: bytes, file_format: Format) -> ConvolutionFile:
    """Read the convolutions of a float file.

    Args:
        data: the file.
        file_format: ``tflite`` or ``onnx``.
    """
    return TfliteConvolutions(data) if file_format == "tflite" else OnnxConvolutions(data)
