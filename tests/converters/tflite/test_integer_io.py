"""The ends of an integer file and what stands alone inside it: taken by XNNPACK, the same by TFLite's own kernels."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers
from numpy.typing import NDArray

from edgeseg.coverage import coverage
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.tflite import integer_io
from edgeseg_converters.tflite.convert import tap_logits as tap_tflite_logits
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.layer_errors import layer_errors
from edgeseg_converters.tflite.quantize import quantize

SIZE = (16, 24)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, *SIZE, 3)).astype(np.float32) for _ in range(2)]


@pytest.fixture(scope="module")
def activation_first(images: list[NDArray[np.float32]]) -> bytes:
    """Xception's order, quantized: what a block adds to is read before its ReLU too, so no convolution can take it."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3), batch_size=1)
    x = layers.Conv2D(8, 3, padding="same")(layers.Rescaling(1 / 127.5, -1)(image))
    for _ in range(2):
        x = layers.add([layers.Conv2D(8, 3, padding="same")(layers.ReLU()(x)), x])
    model = keras.Model(image, layers.Conv2D(4, 1)(x))
    spec = ModelSpec(
        name="tiny",
        input_size=SIZE,
        class_names=default_class_names(4),
        palette=default_palette(4),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        output_kind="argmax",
    )
    data = to_tflite(freeze(model, spec), spec)
    seen = layer_errors(data, data, images)
    sides = ({error.tensor: np.array([getattr(error, side)], np.float32) for error in seen} for side in ("low", "high"))
    return quantize(data, "int8", Ranges(*sides))


def changed(data: bytes, change: Callable[[TfliteGraph], None]) -> bytes:
    graph = TfliteGraph.read(data)
    change(graph)
    return graph.write()


def test_a_relu_of_its_own_is_taken_and_changes_no_value(
    activation_first: bytes, images: list[NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = changed(activation_first, integer_io.put_in)
    monkeypatch.setattr(integer_io, "_cut_off_by_range", lambda graph: None)
    with_relu = changed(activation_first, integer_io.put_in)
    left = [[node.op for node in coverage(data, "cpu").left] for data in (with_relu, without)]
    assert "RELU" in left[0]
    assert set(left[1]) == {"QUANTIZE", "ARG_MAX", "CAST"}  # the image, and the class map
    assert coverage(without, "cpu").partitions == 1
    for image in images:
        values = [_logits(data, image) for data in (with_relu, without)]
        assert values[0].min() < values[0].max()
        np.testing.assert_array_equal(*values)


def test_a_relu_whose_range_begins_elsewhere_stays(activation_first: bytes) -> None:
    def move(graph: TfliteGraph) -> None:
        for op in graph.operators:
            if graph.op_name(op) == "RELU":
                graph.tensors[op.outputs[0]].quantization.zeroPoint = np.array([-100], np.int64)
        integer_io.put_in(graph)

    left = [node.op for node in coverage(changed(activation_first, move), "cpu").left]
    assert "RELU" in left


def _logits(data: bytes, image: NDArray[np.float32]) -> NDArray[np.int8]:
    """By TFLite's own kernels, which round every requantization alike; XNNPACK's QUANTIZE has 8 bits of the ratio."""
    interpreter = Interpreter(
        model_content=tap_tflite_logits(data),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image.astype(np.uint8))
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
