"""Resizes of integers, held against the runtimes: LiteRT on integers, ONNX Runtime on the float32 between them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnxruntime as ort
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgeseg.choices import TrainedPrecision
from edgeseg.models.layers import LegacyResize, ResizeBilinear, UpsampleLike
from edgeseg.training.quantization.resizes import Coordinates, coordinates_of, in_float, resized
from edgeseg.training.quantization.scheme import Grid, Scheme

_MODES = {"half-pixel": "half_pixel", "legacy": "asymmetric", "corners": "align_corners"}

# No weight of these is a short binary fraction; to (5, 7) the map gets smaller.
_LAYERS = [
    ResizeBilinear((33, 47), align_corners=True),
    ResizeBilinear((33, 47), align_corners=False),
    ResizeBilinear((5, 7), align_corners=True),
    ResizeBilinear((1, 7), align_corners=True),
    LegacyResize((33, 47)),
    LegacyResize((33, 47), align_corners=True),
    keras.layers.UpSampling2D(3, interpolation="bilinear"),
    keras.layers.UpSampling2D(2, interpolation="bilinear"),
    keras.layers.Resizing(5, 7),
]


def _integer_file(layer: Any, shape: tuple[int, ...], precision: TrainedPrecision) -> Interpreter:
    """Return a file with the one op; its integers are those of TensorFlow's own quantizer."""
    image = keras.Input(shape, batch_size=1)
    network = keras.Model(image, layer(image))
    signature = [tf.TensorSpec((1, *shape), tf.float32)]
    function = tf.function(lambda x: network(x), input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    random = np.random.default_rng(1)
    converter.representative_dataset = lambda: ([random.uniform(-3, 5, (1, *shape)).astype(np.float32)] for _ in "ab")
    ops, dtype = tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8
    if precision == "w8a16":
        ops, dtype = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, tf.int16
    converter.target_spec.supported_ops = [ops]
    converter.inference_input_type = converter.inference_output_type = dtype
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
@pytest.mark.parametrize("layer", _LAYERS, ids=lambda layer: layer.name)
def test_a_resize_is_that_of_litert_to_the_last_integer(layer: Any, precision: TrainedPrecision) -> None:
    shape = (9, 12, 5)
    interpreter = _integer_file(layer, shape, precision)
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    assert answer["quantization"] == (scale, zero)
    limits = np.iinfo(given["dtype"])
    numbers = np.random.default_rng(0).integers(limits.min, limits.max, (1, *shape), given["dtype"], endpoint=True)
    interpreter.set_tensor(given["index"], numbers)
    interpreter.invoke()
    expected = interpreter.get_tensor(answer["index"])

    coordinates = coordinates_of(layer)
    assert coordinates is not None
    grid = Grid(scale, limits.min - zero, limits.max - zero)
    result = resized(
        numbers.astype(np.float32) - zero, expected.shape[1:3], coordinates, grid, Scheme(precision, "tflite")
    )
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(result) + zero, expected)


@pytest.mark.parametrize("coordinates", _MODES)
@pytest.mark.parametrize("size", [(33, 47), (5, 7), (1, 1), (18, 24)])
def test_a_resize_in_float_is_that_of_onnx_runtime_to_the_bit(coordinates: Coordinates, size: tuple[int, int]) -> None:
    shape = (1, 5, 9, 12)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("map", shape), ("resized", (*shape[:2], *size)))
    ]
    sizes = numpy_helper.from_array(np.array([*shape[:2], *size], np.int64), "sizes")
    mode = {"mode": "linear", "coordinate_transformation_mode": _MODES[coordinates]}
    node = helper.make_node("Resize", ["map", "", "", "sizes"], ["resized"], **mode)
    graph = helper.make_graph([node], "resize", values[:1], values[1:], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    numbers = np.random.default_rng(0).uniform(-3, 5, shape).astype(np.float32)
    (expected,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"map": numbers})

    result = keras.ops.convert_to_numpy(in_float(numbers.transpose(0, 2, 3, 1), size, coordinates))
    np.testing.assert_array_equal(result.transpose(0, 3, 1, 2), expected)


def test_what_resizes_to_the_nearest_pixel_rounds_nothing() -> None:
    assert coordinates_of(UpsampleLike()) is None
    assert coordinates_of(keras.layers.UpSampling2D(2)) is None
    assert coordinates_of(LegacyResize((4, 4), interpolation="nearest")) is None
    assert coordinates_of(keras.layers.MaxPooling2D()) is None
