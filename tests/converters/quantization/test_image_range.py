"""``image_range``: the integers of the normalized image are the bytes, wherever all channels are normalized alike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg.imaging import encode_image
from edgeseg.runtime import open_artifact
from edgeseg.spec import ModelSpec, Provenance, default_class_names, default_palette
from edgeseg_converters.calibration import CalibrationSet, Ranges, choose
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.onnx.file import read
from edgeseg_converters.onnx.passes.integer_input import OmitNormalization
from edgeseg_converters.quantization import engines
from edgeseg_converters.quantization.engines import FloatFile, float_file, open_engine
from edgeseg_converters.quantization.image_range import with_bytes
from edgeseg_converters.tflite import integer_io
from edgeseg_converters.tflite.graph import TfliteGraph

SIZE = (16, 24)
FORMATS: tuple[Format, ...] = ("tflite", "onnx")
Triple = tuple[float, float, float]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    """Images that lack both ends of a byte."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        image = np.random.default_rng(seed).integers(30, 200, (*SIZE, 3), np.uint8)
        (folder / f"{seed}.png").write_bytes(encode_image(image))
    return choose(folder)


def spec_of(mean: Triple, std: Triple) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        input_size=SIZE,
        class_names=default_class_names(4),
        palette=default_palette(4),
        mean=mean,
        std=std,
        dtype="uint8",
        output_kind="argmax",
        provenance=Provenance(precision="int8"),
    )


def source_of(spec: ModelSpec, file_format: Format) -> FloatFile:
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3), batch_size=1)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, layers.Conv2D(4, 1)(x))
    return float_file(freeze(model, spec), spec, file_format)


def convolutions(data: bytes, file_format: Format) -> int:
    """Return how many there are: two, and a third that normalizes."""
    if file_format == "onnx":
        return sum(node.op_type == "Conv" for node in read(data).graph)
    graph = TfliteGraph.read(data)
    return sum(graph.op_name(op) in ("CONV_2D", "DEPTHWISE_CONV_2D") for op in graph.operators)


def answers(data: bytes, file_format: Format, given: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
    backend = open_artifact(data, file_format)
    results = [np.array(backend.run(image)) for image in given]
    backend.close()
    return results


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(("mean", "std"), [(127.0, 128.0), (127.5, 127.5), (0.0, 255.0), (103.0, 57.0), (110.3, 1.0)])
def test_the_bytes_are_the_integers_and_no_answer_changes(
    mean: float, std: float, file_format: Format, images: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of((mean,) * 3, (std,) * 3)
    source = source_of(spec, file_format)
    short = open_engine(source, spec, file_format, images).build()
    assert convolutions(short, file_format) == 2
    monkeypatch.setattr(integer_io, "_omit_normalization", lambda graph: None)
    monkeypatch.setattr(OmitNormalization, "call", lambda self, model: ir.passes.PassResult(model, modified=False))
    whole = open_engine(source, spec, file_format, images).build()
    assert convolutions(whole, file_format) == 3

    every_byte = np.resize(np.arange(256, dtype=np.uint8), (1, *SIZE, 3))
    given = [every_byte, *(tensor.astype(np.uint8) for tensor in images.tensors(spec))]
    results = [answers(data, file_format, given) for data in (short, whole)]
    assert len(np.unique(results[0])) > 1
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("file_format", FORMATS)
def test_steps_that_are_not_those_of_the_bytes_keep_the_normalization(
    file_format: Format, images: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "with_bytes", lambda ranges, *_: ranges)  # the images' own range has finer steps
    spec = spec_of((127.0,) * 3, (128.0,) * 3)
    data = open_engine(source_of(spec, file_format), spec, file_format, images).build()
    assert convolutions(data, file_format) == 3


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((123.0, 117.0, 104.0), (58.0, 57.0, 57.0)),  # a range for all channels is none of theirs
        ((127.5, 127.5, 127.5), (127.5, 127.5, 128.5)),
        ((300.0,) * 3, (128.0,) * 3),  # no byte means 0
        ((-20.0,) * 3, (128.0,) * 3),
    ],
)
def test_a_normalization_that_changes_the_integers_stays(
    mean: Triple, std: Triple, file_format: Format, images: CalibrationSet
) -> None:
    spec = spec_of(mean, std)
    data = open_engine(source_of(spec, file_format), spec, file_format, images).build()
    assert convolutions(data, file_format) == 3


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_takes_bytes_as_they_are_keeps_its_ranges(file_format: Format) -> None:
    source = source_of(spec_of((0.0,) * 3, (1.0,) * 3), file_format)
    ranges = Ranges({}, {})
    assert with_bytes(ranges, source.data, file_format) is ranges


def test_the_image_of_a_tflite_file_says_what_its_bytes_mean(images: CalibrationSet) -> None:
    spec = spec_of((127.0,) * 3, (128.0,) * 3)
    data = open_engine(source_of(spec, "tflite"), spec, "tflite", images).build()
    (image,) = Interpreter(model_content=data).get_input_details()
    assert image["dtype"] == np.uint8
    assert image["quantization"] == (pytest.approx(1 / 128), 127)
