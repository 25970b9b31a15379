"""``image_range``: the integers of the normalized image are the bytes, wherever all channels are normalized alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from edgeseg.runtime import open_artifact
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.quantization.image_range import with_bytes
from edgeseg_converters.tflite import integer_io
from edgeseg_converters.tflite.convert import finish, to_tflite
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.layer_errors import layer_errors
from edgeseg_converters.tflite.quantize import quantize

SIZE = (16, 24)
SPEC = ModelSpec(
    name="tiny",
    input_size=SIZE,
    class_names=default_class_names(4),
    palette=default_palette(4),
    mean=(0, 0, 0),
    std=(1, 1, 1),
    output_kind="argmax",
)
IMAGES = [np.random.default_rng(k).integers(30, 200, (1, *SIZE, 3)).astype(np.float32) for k in range(2)]


def normalizing(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[bytes, Ranges]:
    """Return a float file that normalizes bytes and has two convolutions, with ranges of images that lack both ends."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3), batch_size=1)
    scale = layers.DepthwiseConv2D(1, name="normalize")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(scale(image))
    model = keras.Model(image, layers.Conv2D(4, 1)(x))
    scale.set_weights([1 / np.reshape(std, (1, 1, 3, 1)), -np.array(mean) / std])
    data = to_tflite(freeze(model, SPEC), SPEC, to_quantize=True)
    seen = layer_errors(data, data, IMAGES)
    sides = ({error.tensor: np.array([getattr(error, side)], np.float32) for error in seen} for side in ("low", "high"))
    return data, Ranges(*sides)


def integers(data: bytes, ranges: Ranges) -> bytes:
    graph = TfliteGraph.read(quantize(data, "int8", ranges))
    integer_io.put_in(graph)
    return finish(graph, SPEC.replace(dtype="uint8"))


def normalizes(data: bytes) -> bool:
    graph = TfliteGraph.read(data)
    return "DEPTHWISE_CONV_2D" in [graph.op_name(op) for op in graph.operators]


@pytest.mark.parametrize(("mean", "std"), [(127.0, 128.0), (127.5, 127.5), (0.0, 255.0), (103.0, 57.0), (110.3, 1.0)])
def test_the_bytes_are_the_integers_and_no_answer_changes(
    mean: float, std: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, ranges = normalizing((mean,) * 3, (std,) * 3)
    assert normalizes(integers(data, ranges))  # the images lack both ends, and their range has finer steps
    known = with_bytes(ranges, data)
    short = integers(data, known)
    assert not normalizes(short)
    monkeypatch.setattr(integer_io, "_omit_normalization", lambda graph: None)
    whole = integers(data, known)
    assert normalizes(whole)

    every_byte = np.resize(np.arange(256, dtype=np.uint8), (1, *SIZE, 3))
    answers = []
    for file in (short, whole):
        backend = open_artifact(file, "tflite")
        answers.append([np.array(backend.run(image.astype(np.uint8))) for image in (*IMAGES, every_byte)])
        backend.close()
    assert len(np.unique(answers[0])) > 1
    np.testing.assert_array_equal(*answers)


def test_the_image_says_what_its_bytes_mean() -> None:
    data, ranges = normalizing((127.0,) * 3, (128.0,) * 3)
    (image,) = Interpreter(model_content=integers(data, with_bytes(ranges, data))).get_input_details()
    assert image["dtype"] == np.uint8
    assert image["quantization"] == (pytest.approx(1 / 128), 127)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((123.0, 117.0, 104.0), (58.0, 57.0, 57.0)),  # a range for all channels is none of theirs
        ((127.5, 127.5, 127.5), (127.5, 127.5, 128.5)),
        ((300.0,) * 3, (128.0,) * 3),  # no byte means 0
        ((-20.0,) * 3, (128.0,) * 3),
    ],
)
def test_a_normalization_that_changes_the_integers_stays(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    data, ranges = normalizing(mean, std)
    assert with_bytes(ranges, data) is ranges
    assert normalizes(integers(data, ranges))


def test_a_file_that_does_not_normalize_keeps_its_ranges() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3), batch_size=1)
    model = keras.Model(image, layers.Conv2D(4, 3, padding="same")(image))
    data = to_tflite(freeze(model, SPEC), SPEC, to_quantize=True)
    ranges = Ranges({}, {})
    assert with_bytes(ranges, data) is ranges
