"""``convolutions``, ``tflite_convolutions``, ``onnx_convolutions``, ``files``, ``head``, ``biases``,
``integer_biases``, ``rounding``: what they change of a float file, and what the real quantizers make of it.
"""

from __future__ import annotations

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
from edgeseg_converters.calibration import CalibrationSet, choose
from edgeseg_converters.correction.biases import correct_biases
from edgeseg_converters.correction.convolutions import ConvolutionFile
from edgeseg_converters.correction.files import open_convolutions
from edgeseg_converters.correction.head import narrow_heads
from edgeseg_converters.correction.integer_biases import open_biases
from edgeseg_converters.correction.rounding import choose_rounding, largest_integer, rounded, windows_of
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.onnx.file import read
from edgeseg_converters.quantization.engines import FloatFile, float_file, open_engine
from edgeseg_converters.tflite.graph import TfliteGraph

SIZE = (32, 48)
FORMATS: tuple[Format, ...] = ("tflite", "onnx")
SPEC = (
    ZOO["unet_mini"]
    .default_spec(3, SIZE)
    .replace(dtype="uint8", output_kind="argmax", provenance=Provenance(precision="int8"))
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        (folder / f"{seed}.png").write_bytes(encode_image(natural_noise(100 + seed, SIZE)))
    return choose(folder)


def small_model() -> keras.Model:
    """Give every kind of convolution, with a stride, a dilation, an activation, and scores that are enlarged."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    biased = {"padding": "same", "bias_initializer": keras.initializers.RandomUniform(-0.2, 0.2, 1)}
    x = layers.Conv2D(8, 3, strides=2, activation="relu", **biased)(inputs)
    x = layers.ReLU(6)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Conv2D(8, 3, dilation_rate=2, **biased)(x)
    x = layers.Conv2D(8, 3, groups=2, activation="relu", **biased)(x)
    x = layers.Conv2DTranspose(8, 2, strides=2, activation="relu", **biased)(x)
    x = layers.Conv2D(3, 1, strides=2, **biased)(x)
    return keras.Model(inputs, layers.UpSampling2D(interpolation="bilinear", name="logits")(x))


@pytest.fixture(scope="module")
def sources() -> dict[Format, FloatFile]:
    return {each: float_file(freeze(small_model(), SPEC), SPEC, each) for each in FORMATS}


def outputs(data: bytes, file_format: Format, images: CalibrationSet) -> np.ndarray[Any, Any]:
    backend = open_artifact(data, file_format)
    kind = backend.inputs[0].dtype
    found = np.concatenate([np.array(backend.run(tensor.astype(kind))) for tensor in images.tensors(SPEC)])
    backend.close()
    return found


def weights_of(data: bytes, file_format: Format) -> list[np.ndarray[Any, Any]]:
    """Return the integers of all kernels of an integer file, in the order of its ops."""
    if file_format == "onnx":
        convolutions = [node for node in read(data).graph if node.op_type == "Conv"]
        return [node.inputs[1].producer().inputs[0].const_value.numpy() for node in convolutions]  # type: ignore[union-attr]
    graph = TfliteGraph.read(data)
    tensors = [
        graph.tensors[op.inputs[1]] for op in graph.operators if graph.op_name(op) in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]
    return [np.asarray(graph.model.buffers[t.buffer].data).view(np.int8).reshape(t.shape) for t in tensors]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_window_is_what_the_runtime_convolves(
    file_format: Format, sources: dict[Format, FloatFile], images: CalibrationSet
) -> None:
    file = open_convolutions(sources[file_format].data, file_format)
    # The first one normalizes the image.
    assert len(file.convolutions) == 7 and sum(each.window is None for each in file.convolutions) == 1
    chosen = [each for each in file.convolutions if each.window is not None]
    names = [name for each in chosen for name in (each.source, each.result)]
    for maps in file.values(names, images.first(1), sources[file_format].spec):
        for each in chosen:
            assert each.window is not None
            result = maps[each.result][0]
            rows, columns = (grid.ravel() for grid in np.indices(result.shape[:2]))
            read_values = windows_of(maps[each.source], each.window, (rows, columns))
            kernel = each.kernel.reshape(each.window.groups, -1, read_values.shape[2])
            computed = (read_values @ kernel.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(result.shape) + each.bias
            # Sums of at most 100 products in another order; the image has values up to 255.
            np.testing.assert_allclose(np.clip(computed, *each.limits), result, atol=1e-3)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_quantizer_makes_the_chosen_integers(
    file_format: Format, sources: dict[Format, FloatFile], images: CalibrationSet
) -> None:
    source = sources[file_format]
    data = choose_rounding(source.data, file_format, images, source.spec)
    assert data is not None
    float_files = (FloatFile(each, source.spec, file_format) for each in (source.data, data))
    before, after = (
        weights_of(open_engine(each, SPEC, file_format, images, "minmax").build(), file_format) for each in float_files
    )
    # The first one normalizes, which the integers of the image do by themselves.
    _, *kernels = (each for each in open_convolutions(data, file_format).convolutions if each.window is not None)
    axes = [(1, 2, 3, 0) if each.window.groups == len(each.kernel) else (0, 2, 3, 1) for each in kernels]  # type: ignore[union-attr]
    for old, new, each, order in zip(before, after, kernels, axes, strict=True):
        largest = largest_integer(each, file_format)
        steps = np.abs(each.kernel).max(axis=(1, 2, 3), keepdims=True) / largest
        chosen = each.kernel / steps
        np.testing.assert_allclose(chosen, np.rint(chosen), atol=1e-3)  # float32 of a number up to 127
        integers = new.transpose(np.argsort(order)) if file_format == "tflite" else new
        np.testing.assert_array_equal(np.rint(chosen), integers)
        assert np.abs(new.astype(int) - old).max() <= 1
    assert sum(np.count_nonzero(old != new) for old, new in zip(before, after, strict=True)) > 50


def test_a_chosen_rounding_errs_less_than_the_nearest_and_keeps_the_largest() -> None:
    random = np.random.default_rng(0)
    kernel = random.normal(size=(4, 8, 3, 3)).astype(np.float32)
    inputs = (random.normal(size=(500, 6)) @ random.normal(size=(6, 72))).astype(np.float32)  # 6 of 72 are independent
    made = rounded(kernel, (inputs.T @ inputs)[None], 7)
    steps = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True) / 7
    nearest = np.rint(kernel / steps) * steps
    errors = [np.square((each - kernel).reshape(4, -1) @ inputs.T).mean() for each in (nearest, made)]
    # 72 choices of a weight for 6 numbers: nearly all of the error can be canceled.
    assert errors[1] < 0.1 * errors[0], errors
    assert np.abs(made - kernel).max() < steps.max()
    np.testing.assert_array_equal(np.abs(made).max(axis=(1, 2, 3)), np.abs(kernel).max(axis=(1, 2, 3)))


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_means_of_the_channels_are_those_of_the_float_file(
    file_format: Format, sources: dict[Format, FloatFile], images: CalibrationSet
) -> None:
    source = sources[file_format]

    def off(data: bytes) -> float:
        """Return how far the means are from the float file's, over the spread of the means."""
        file = FloatFile(data, source.spec, file_format)
        built = open_engine(file, SPEC, file_format, images, "percentile").build()
        original = open_convolutions(source.data, file_format)
        fed = [tensor.astype(np.uint8) for tensor in images.tensors(SPEC)]
        integers = open_biases(built, file_format, [each.op for each in original.convolutions], fed)
        names = [each.result for each in original.convolutions]
        float_means = _means(original, names, images)
        each_off = [
            np.abs(integers.means(each.op) - float_means[each.result]).mean() / float_means[each.result].std()
            for each in original.convolutions[1:]  # the means of a normalized image are 0
        ]
        assert (len(integers.ops), len(names)) == (6, 7)  # the integers of the image are its bytes: none normalizes
        return float(np.mean(each_off))

    plain = open_engine(source, SPEC, file_format, images, "percentile").build()
    corrected = correct_biases(source.data, plain, file_format, images, source.spec)
    assert corrected is not None
    before, after = off(source.data), off(corrected)
    # A bias is rounded to its step, and a channel that is mostly cut off follows it in part.
    assert after < before / 3, (before, after)


def _means(file: ConvolutionFile, names: list[str], images: CalibrationSet) -> dict[str, np.ndarray[Any, Any]]:
    maps = list(file.values(names, images, SPEC.replace(dtype="float32")))
    return {name: np.mean([each[name].mean(axis=(0, 1, 2)) for each in maps], axis=0) for name in names}


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_narrow_head_gives_the_same_classes(
    file_format: Format, sources: dict[Format, FloatFile], images: CalibrationSet
) -> None:
    source = sources[file_format]
    file = open_convolutions(source.data, file_format)
    head = file.head()
    assert head is not None
    head.put_bias(head.bias + np.float32([500, 500, -100]))  # what all classes have, and a class that never wins
    wide = file.write()
    classes = outputs(wide, file_format, images)
    narrowed = narrow_heads(wide, file_format, images, source.spec)
    assert len(narrowed) == 2
    for data in narrowed:
        assert np.mean(outputs(data, file_format, images) == classes) > 0.995  # an edge between two pixels may move
    (whole,), (narrow,) = (
        [np.ptp(maps[each.result]) for maps in opened.values([each.result], images.first(1), source.spec)]
        for opened in (open_convolutions(data, file_format) for data in (wide, narrowed[1]))
        for each in [opened.convolutions[-1]]
    )
    assert narrow < whole / 5, (narrow, whole)


def test_what_is_no_class_map_of_a_convolution_has_no_head(images: CalibrationSet) -> None:
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(3, 1)(inputs)
    twice = keras.Model(inputs, layers.Add(name="logits")([x, layers.ReLU()(x)]))
    for file_format in FORMATS:
        source = float_file(freeze(twice, SPEC), SPEC, file_format)
        assert narrow_heads(source.data, file_format, images, source.spec) == ()
