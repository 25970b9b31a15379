"""Quantize to int8 by TensorFlow's own post-training quantizer, for delegates that check op versions.

litert-quantizer leaves an int8 CONV_2D at version 1, which XNNPACK and the GPU take and NNAPI's and the Edge TPU's
compilers may not. TensorFlow's quantizer raises the versions. It cannot calibrate the unpooling custom ops.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseg.errors import UnsupportedModel
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.tflite.convert import finish, run_converter
from edgeseg_converters.tflite.graph import TfliteGraph


def quantize_ptq(frozen: Any, spec: ModelSpec, images: CalibrationSet) -> bytes:
    """Convert a frozen function to int8.

    Args:
        frozen: from ``(1, H, W, 3)`` float32 in [0, 255] to a uint8 class map, or to probabilities.
        spec: goes into the file.
        images: to calibrate with.

    Returns:
        A ``.tflite`` file from a uint8 image with scale 1 to a uint8 class map, or to uint8 probabilities with scale
        1/256.

    Raises:
        InputError: an image does not decode.
        UnsupportedModel: an op has no int8 kernel.
    """

    def representative() -> Iterator[list[Any]]:
        for number, tensor in enumerate(images.tensors(spec)):
            if number == 0:
                # It contains both ends of a byte, so that the input gets scale 1 and takes the bytes as they are.
                tensor[0, 0, 0], tensor[0, -1, -1] = 0, 255
            yield [tensor]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.concrete()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    if spec.output_kind == "softmax":
        converter.inference_output_type = tf.uint8
    graph = TfliteGraph.read(run_converter(converter))
    image = graph.tensors[graph.inputs[0]]
    scale = float(np.ravel(image.quantization.scale)[0])
    if scale != 1.0:
        raise UnsupportedModel(f"TensorFlow's quantizer gave the image the scale {scale}; its bytes would be misread.")
    return finish(graph, spec)
