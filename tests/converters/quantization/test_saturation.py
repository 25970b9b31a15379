"""``saturation``: ranges end where an activation no longer changes, in both formats on the real runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import Format
from edgeseg.imaging import encode_image
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime import open_artifact
from edgeseg.spec import Provenance
from edgeseg_converters.calibration import CalibrationSet, Ranges, choose
from edgeseg_converters.correction.biases import correct_biases
from edgeseg_converters.correction.files import open_convolutions
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.quantization import engines
from edgeseg_converters.quantization.engines import FloatFile, float_file, open_engine
from edgeseg_converters.quantization.saturation import saturated

SIZE = (32, 48)
SPEC = (
    ZOO["unet_mini"]
    .default_spec(3, SIZE)
    .replace(dtype="uint8", output_kind="logits", provenance=Provenance(precision="int8"))
)
FORMATS = pytest.mark.parametrize("file_format", ["tflite", "onnx"])


def model_of(activation: Callable[[Any], Any]) -> keras.Model:
    """A convolution with most of its values far below zero, its activation, and a head."""
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(
        6,
        3,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(0, 4.0, seed=0),
        bias_initializer=keras.initializers.Constant(-25.0),
    )(inputs)
    head = layers.Conv2D(3, 1, kernel_initializer=keras.initializers.GlorotUniform(1))
    return keras.Model(inputs, head(activation(x)))


def file_of(activation: Callable[[Any], Any], file_format: Format) -> FloatFile:
    return float_file(freeze(model_of(activation), SPEC), SPEC, file_format)


def cut_tensors(source: FloatFile, *, steps: int = 255) -> list[tuple[float, float]]:
    """Return the new ends of the tensors that are cut, where every one is measured as -100 to 100."""
    if source.format == "tflite":
        from edgeseg_converters.tflite.graph import TfliteGraph

        graph = TfliteGraph.read(source.data)
        names = [graph.tensor_name(op.outputs[0]) for op in graph.operators]
    else:
        import onnx

        names = [node.output[0] for node in onnx.load_from_string(source.data).graph.node]
    ends = {name: np.array([100.0], np.float32) for name in names}
    ranges = saturated(
        Ranges({name: -end for name, end in ends.items()}, ends), source.data, source.format, steps=steps
    )
    return [limits for limits in map(ranges.limits, names) if limits != (-100, 100)]


def swish(x: float) -> float:
    return float(x / (1 + np.exp(-x)))


@FORMATS
def test_what_is_cut_off_changes_the_result_by_a_quarter_of_a_step(file_format: Format) -> None:
    ((low, high),) = cut_tensors(file_of(keras.activations.tanh, file_format))
    # The result is measured as -100 to 100 as well: a quarter of a 255th of 200 is 0.196, which is 1 - tanh(1.11). The
    # places that are tried are 0.025 apart.
    assert 1.11 < high < 1.14 and -1.14 < low < -1.11
    ((low, high),) = cut_tensors(file_of(keras.activations.silu, file_format), steps=25500)
    # 0.00196 of the swish, and of the sigmoid: the swish is that small from -8.36 on, the sigmoid from -6.2.
    assert -8.39 < low < -8.36 and high == 100


@FORMATS
def test_a_tensor_that_another_op_reads_keeps_its_range(file_format: Format) -> None:
    assert cut_tensors(file_of(lambda x: layers.Concatenate()([keras.activations.silu(x), x]), file_format)) == []
    assert cut_tensors(file_of(keras.activations.relu, file_format)) == []


@FORMATS
def test_the_logits_err_less(file_format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(8):
        (tmp_path / f"{seed}.png").write_bytes(encode_image(natural_noise(100 + seed, SIZE)))
    images, source = choose(tmp_path), file_of(keras.activations.silu, file_format)
    error = quantized_error(source, images)
    monkeypatch.setattr(engines, "saturated", lambda ranges, *_, **__: ranges)
    # The range of what the swish takes is -51 to 7, and begins at -7 now. Most of the error that is left is that of the
    # sigmoid, whose steps are a 256th whatever its range: 15 % less were measured in TFLite, 24 % in ONNX.
    assert error < 0.9 * quantized_error(source, images)


def quantized_error(source: FloatFile, images: CalibrationSet) -> float:
    """Return the mean squared error of the logits of the integer file."""
    engine = open_engine(source, SPEC, source.format, images, "minmax")
    given, made = open_artifact(source.data, source.format), open_artifact(engine.build(), source.format)
    errors = []
    for tensor in images.tensors(SPEC):
        expected = np.asarray(given.run(tensor.astype(np.float32)), np.float32)
        (output,) = made.outputs
        answer = np.asarray(made.run(tensor.astype(made.inputs[0].dtype)), np.float32)
        if output.scale:
            answer = (answer - output.zero_point) * output.scale
        errors.append(np.square(answer - expected).mean())
    return float(np.mean(errors))


@FORMATS
def test_biases_are_not_corrected_for_what_is_cut_on_purpose(file_format: Format, tmp_path: Path) -> None:
    for seed in range(8):
        (tmp_path / f"{seed}.png").write_bytes(encode_image(natural_noise(100 + seed, SIZE)))
    images, source = choose(tmp_path), file_of(keras.activations.silu, file_format)
    artifact = open_engine(source, SPEC, file_format, images, "minmax").build()
    data = correct_biases(source.data, artifact, file_format, images, SPEC)
    assert data is not None
    before, after = (
        {each.op: each.bias for each in open_convolutions(each_file, file_format).convolutions}
        for each_file in (source.data, data)
    )
    # The mean before the swish is -25, and -7 at least in the integers: by that the biases would move. Half a step of
    # the integers there is 0.03; the values that are not cut are few, and their mean moves by several of it.
    assert max(np.abs(after[op] - before[op]).max() for op in before) < 1
