"""``pooling_ties``, ``quantize_tensorflow`` and ``split_activations``: integer TFLite files by both quantizers, on tiny
calibrated models and the real runtime.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edgeseg.choices import Format, Precision, Target
from edgeseg.coverage import coverage
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.imaging import preprocess
from edgeseg.models import create
from edgeseg.models.opening import assumed_spec
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime import open_artifact
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import Provenance
from edgeseg.tflite.litert_internals import to_bytes
from edgeseg_converters import ExportResult, Recipe, export, export_all
from edgeseg_converters.calibration import CalibrationSet, choose
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.quantization.engines import LiteRTEngine, float_file
from edgeseg_converters.tflite import integer_io
from edgeseg_converters.tflite.delegate_pooling import POOL, UNPOOL
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.layer_errors import layer_errors
from edgeseg_converters.tflite.pooling_ties import same_indices

SIZE = (32, 64)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        cv2.imwrite(str(folder / f"{seed}.png"), natural_noise(seed, SIZE)[..., ::-1])
    return choose(folder)


def calibrated(
    name: str, size: tuple[int, int] = SIZE, change: Callable[[keras.Model], keras.Model] = lambda model: model
) -> keras.Model:
    """Random weights and batch normalization that has seen images, so that no map is constant."""
    keras.utils.set_random_seed(0)
    model = change(create(name, num_classes=5, input_size=size))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(np.stack([natural_noise(seed, size) for seed in range(20, 24)]) / np.float32(127.5) - 1, training=True)
    return model


@pytest.fixture(scope="module")
def unet() -> keras.Model:
    return calibrated("unet_mini")


@functools.cache  # most tests look at the same file
def made(model: keras.Model, precision: Precision, images: CalibrationSet, target: Target = "generic") -> ExportResult:
    spec = ZOO[model.name].default_spec(5, model.input_shape[1:3])
    samples = Samples(tuple(natural_noise(seed, spec.input_size) for seed in range(40, 42)), "noise")
    settings = Quantization(calibration=images)
    recipe = Recipe("tflite", precision)
    (result,) = export_all(
        model, spec, [recipe], samples=samples, quantization=settings, options=ExportOptions(target=target)
    )
    return result


@pytest.fixture(autouse=True, scope="module")
def _files_of_these_tests_alone() -> Iterator[None]:
    yield
    made.cache_clear()


def ops(data: bytes) -> Counter[str]:
    graph = TfliteGraph.read(data)
    return Counter(map(graph.op_name, graph.operators))


def test_int8_takes_bytes_and_gives_classes(unet: keras.Model, images: CalibrationSet) -> None:
    result = made(unet, "int8", images)
    backend = LiteRTBackend(result.data)
    (image,), (class_map,) = backend.inputs, backend.outputs
    assert (image.dtype, image.scale, image.zero_point) == ("uint8", pytest.approx(1 / 127.5), 127)  # bytes
    assert class_map.dtype == "uint8"
    assert result.spec.dtype == "uint8"
    cpu = coverage(result.data, "cpu")
    assert {left.op for left in cpu.left} == {"QUANTIZE", "ARG_MAX", "CAST"}  # the image, and the class map
    assert cpu.partitions == 1
    # The upsampling's DEPTH_TO_SPACE moves integers, though the quantizer has no rule for it.
    counted = ops(result.data)
    assert counted["DEPTH_TO_SPACE"] == 2
    assert counted["DEQUANTIZE"] == 0
    assert result.verification is not None
    # Random weights leave classes close together; a swapped channel or a wrong scale agrees on a fifth.
    assert result.verification.argmax_agreement > 0.9


def test_the_differences_of_the_float_file_are_left_out(unet: keras.Model, images: CalibrationSet) -> None:
    rules = {rule for rule, _ in made(unet, "int8", images).spec.provenance.rewrites}
    assert "UpsampleConvToPhases" in rules
    assert "UpsampleConvToDifferences" not in rules


def test_16_bit_activations_are_nearer(unet: keras.Model, images: CalibrationSet) -> None:
    eight, sixteen = (made(unet, precision, images).verification for precision in ("int8", "w8a16"))
    assert eight is not None
    assert sixteen is not None
    # The weights have 8 bits in both, so an error remains.
    assert sixteen.max_relative_error < eight.max_relative_error
    assert sixteen.argmax_agreement > eight.argmax_agreement


def test_dynamic_takes_floats_and_needs_no_images() -> None:
    model = calibrated("deeplabv3plus_mobilenetv2", (64, 64))
    result = export(model, precision="dynamic", verify=False)
    assert result.spec.dtype == "float32"
    graph = TfliteGraph.read(result.data)
    kinds = {int(tensor.type) for tensor in graph.tensors}
    assert 9 in kinds  # INT8 weights
    cpu = coverage(result.data, "cpu")
    assert cpu.partitions == 1  # depthwise convolutions stay in float, or each of them would be a cut
    assert {left.op for left in cpu.left} <= {"ARG_MAX", "CAST", "RESIZE_NEAREST_NEIGHBOR"}


def test_tensorflows_quantizer_raises_the_versions(unet: keras.Model, images: CalibrationSet) -> None:
    result = made(unet, "int8", images, target="edgetpu")
    assert result.quantized is not None
    assert result.quantized.engine == "tensorflow"
    graph = TfliteGraph.read(result.data)
    versions = {graph.op_name(op): graph.code(op).version for op in graph.operators}
    assert versions["CONV_2D"] >= 3  # int8 with a scale for each channel
    assert LiteRTBackend(result.data).inputs[0].scale == 1.0
    assert result.verification is not None
    assert result.verification.argmax_agreement > 0.9


@pytest.fixture(scope="module")
def segnet(thin: Callable[[keras.Model], keras.Model]) -> keras.Model:
    return calibrated("segnet", change=thin)


@pytest.mark.slow
def test_segnet_with_masks(segnet: keras.Model, images: CalibrationSet) -> None:
    # Of the four places of a window the last is what the others leave: that part of the SPLIT nobody reads.
    result = made(segnet, "int8", images)
    cpu = coverage(result.data, "cpu")
    assert {left.op for left in cpu.left} == {"QUANTIZE", "EQUAL", "CAST", "ARG_MAX"}
    assert result.verification is not None
    assert result.verification.argmax_agreement > 0.3  # as with the delegates' pooling
    assert result.quantized is not None
    assert result.quantized.same_indices is None
    found = layer_errors(result.quantized.float_data, result.data, images.first(1).tensors(result.spec))
    assert min(error.range_db for error in found) > 20


@pytest.mark.slow
def test_segnet_with_the_delegates_pooling(segnet: keras.Model, images: CalibrationSet) -> None:
    # TensorFlow's quantizer cannot calibrate these ops; here they are islands in float.
    result = made(segnet, "int8", images, target="xnnpack")
    counted = ops(result.data)
    assert counted[POOL] + counted[UNPOOL] == 10  # five poolings and their unpoolings
    cpu = coverage(result.data, "cpu")
    assert {left.op for left in cpu.left} == {"QUANTIZE", "ARG_MAX", "CAST"}
    assert result.verification is not None
    assert result.verification.argmax_agreement > 0.3  # of 5 classes; indices flip where 8 bits make ties
    assert result.quantized is not None
    shares = result.quantized.same_indices
    assert shares is not None
    assert len(shares) == 5
    # One of four places by chance. The first pooling has the errors of two layers alone.
    assert shares[0] == max(shares) > 0.9
    assert min(shares) > 0.5
    float_data = result.quantized.float_data
    image = natural_noise(50, SIZE)[None]
    assert same_indices(float_data, float_data, [image]) == (1.0,) * 5


@pytest.mark.parametrize("static", ["keep", "only"])
def test_ops_can_be_kept_in_float(static: str, unet: keras.Model, images: CalibrationSet) -> None:
    spec = ZOO["unet_mini"].default_spec(5, SIZE).replace(dtype="uint8", output_kind="argmax")
    spec = spec.replace(provenance=made(unet, "int8", images).spec.provenance)
    engine = LiteRTEngine(float_file(freeze(unet, spec), spec, "tflite"), spec, images, "minmax")
    exact = engine.logits([])
    all_of_them = engine.logits(engine.ops)
    last = [name for name in engine.ops if "resize" not in name][-1]
    if static == "only":
        error = [np.abs(new - old).max() for new, old in zip(engine.logits([last]), exact, strict=True)]
        whole = [np.abs(new - old).max() for new, old in zip(all_of_them, exact, strict=True)]
        assert 0 < max(error) < max(whole)
    else:
        kept = ops(engine.build([last]))
        assert kept["DEQUANTIZE"] == 1 + ops(engine.build())["DEQUANTIZE"]


def test_images_of_bytes_go_in_as_they_are(unet: keras.Model, images: CalibrationSet) -> None:
    result = made(unet, "int8", images)
    image = natural_noise(77, SIZE)
    tensor = preprocess(image, result.spec)[0]
    np.testing.assert_array_equal(tensor[0], image)
    assert LiteRTBackend(result.data).run(tensor).shape == (1, *SIZE)


@pytest.mark.parametrize(
    ("precision", "kind", "reason"),
    [("int8", "argmax", "needs images to calibrate"), ("w8a16", "argmax", "needs images to calibrate")],
)
def test_static_precisions_want_images(unet: keras.Model, precision: Precision, kind: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        export(unet, precision=precision, verify=False)


def test_integers_have_no_scores_of_many_classes(unet: keras.Model, images: CalibrationSet) -> None:
    spec = ZOO["unet_mini"].default_spec(5, SIZE)
    settings = Quantization(calibration=images)
    options = ExportOptions(output_kind="softmax")
    with pytest.raises(InputError, match="int8 gives scores of two classes, this model has 5"):
        list(export_all(unet, spec, [Recipe("tflite", "int8")], quantization=settings, options=options))


@pytest.fixture(scope="module")
def of_two() -> keras.Model:
    """Two classes told apart by edges: probabilities from 0 to 1, and ramps between them."""
    keras.utils.set_random_seed(3)
    image = keras.Input((*SIZE, 3))
    features = layers.Conv2D(8, 5, padding="same", activation="relu")(image)
    model = keras.Model(image, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(features))
    model.layers[-1].set_weights([8 * weights for weights in model.layers[-1].get_weights()])
    return model


@pytest.mark.parametrize(
    ("file_format", "target", "output"),
    [
        ("tflite", "generic", ("uint8", 1 / 256, 0)),
        ("tflite", "edgetpu", ("uint8", 1 / 256, 0)),
        ("onnx", "generic", ("float32", 0.0, 0)),
    ],
)
def test_two_classes_have_scores_in_integers(
    file_format: Format, target: Target, output: tuple[str, float, int], of_two: keras.Model, images: CalibrationSet
) -> None:
    """They are Keras' to a few steps of 1/256: those of the logits, whose range is 60 steps of a quarter, and of 8."""
    options = ExportOptions(output_kind="softmax", target=target)
    samples = Samples(tuple(natural_noise(seed, SIZE) for seed in (50, 51)), "noise")
    recipe = Recipe(file_format, "int8")
    spec = assumed_spec("two", SIZE, 2)
    (result,) = export_all(
        of_two, spec, [recipe], samples=samples, quantization=Quantization(calibration=images), options=options
    )
    assert result.verification is not None
    assert result.verification.argmax_agreement > 0.98
    with Segmenter(open_artifact(result.data, file_format)) as segmenter:
        info = segmenter.backend.outputs[0]
        assert (info.dtype, info.scale, info.zero_point) == output
        for image in samples.images:
            scores = segmenter(image).scores
            assert scores is not None
            second = of_two(preprocess(image, spec)[0]).numpy()[0, ..., 0]
            assert 0.1 < second.std() < 0.5
            assert np.abs(scores[..., 1] - second).max() < 0.12
            assert np.abs(scores[..., 1] - second).mean() < 0.02
            assert np.abs(scores.sum(-1) - 1).max() <= 1 / 256 + 1e-6


def test_onnx_has_no_dynamic() -> None:
    with pytest.raises(InputError, match=r"onnx has no precision 'dynamic'; accepted: fp32, fp16, int8\."):
        Recipe("onnx", "dynamic")


def test_equal_vectors_are_stored_once(unet: keras.Model, images: CalibrationSet) -> None:
    data = made(unet, "int8", images).data
    graph = TfliteGraph.read(data)
    plain = to_bytes(TfliteGraph.read(data).model)
    shared = graph.write()
    assert len(shared) < len(plain)
    again = TfliteGraph.read(shared)
    for old, new in zip(graph.tensors, again.tensors, strict=True):
        assert old.name == new.name
        if old.quantization is not None and old.quantization.scale is not None:
            np.testing.assert_array_equal(old.quantization.scale, new.quantization.scale)
            np.testing.assert_array_equal(old.quantization.zeroPoint, new.quantization.zeroPoint)


def test_what_the_tool_cannot_do_is_one_line(
    unet: keras.Model, images: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("Ranks of scales (5)\nmust be 4.")

    monkeypatch.setattr("litert_quantizer.quantizer.Quantizer.quantize", fail)
    with pytest.raises(UnsupportedModel, match=r"cannot make int8 of the model: Ranks of scales \(5\) must be 4\."):
        made.__wrapped__(unet, "int8", images)


class WithColumns(layers.Layer):  # type: ignore[misc]
    """CoordConv's step: where a pixel lies, joined to the map as one more channel."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        columns = np.broadcast_to(np.linspace(-1, 1, SIZE[1], dtype=np.float32), (1, *SIZE))
        return keras.ops.concatenate([x, np.array(columns)[..., None]], axis=-1)

    def compute_output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:3], shape[3] + 1)


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_a_constant_that_is_joined_to_a_map(precision: Precision, images: CalibrationSet) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(6, 3, padding="same")(WithColumns()(layers.Conv2D(4, 3, padding="same")(inputs)))
    model = keras.Model(inputs, layers.Conv2D(5, 1)(x), name="unet_mini")
    result = made(model, precision, images)
    assert result.verification is not None and result.verification.argmax_agreement > 0.95  # of random weights


class Loop(layers.Layer):
    """A loop that TensorFlow does not unroll, as a recurrent layer has one."""

    def call(self, x: Any) -> Any:
        _, result = tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, tf.nn.relu(v - 0.1)), (tf.constant(0), x))
        return result


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_integers_refuse_a_loop_by_its_name(images: CalibrationSet, precision: Precision) -> None:
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 1)(Loop(name="again")(inputs)))
    with pytest.raises(
        UnsupportedModel, match=rf"{precision} has no loops, the model has '.*again.* \(WHILE\).*unroll"
    ):
        export(model, precision=precision, quantization=Quantization(calibration=images), verify=False)
    assert export(model, precision="dynamic").verification.passed


def test_an_int8_transposed_convolution_has_no_fused_activation(
    images: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The op has none up to version 3, the last that the GPU takes; the range of the integers cuts off the same."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    drawn = {"kernel_initializer": "he_normal", "bias_initializer": keras.initializers.RandomUniform(0, 0.2, 1)}
    x = layers.Conv2DTranspose(8, 2, strides=2, activation="relu", **drawn)(inputs)
    x = layers.Conv2DTranspose(8, 3, strides=1, padding="same", activation="relu6", **drawn)(x)
    model = keras.Model(inputs, layers.Conv2D(3, 1)(x))
    spec = assumed_spec("transposed", SIZE, 3).replace(dtype="uint8", provenance=Provenance(precision="int8"))
    engine = LiteRTEngine(float_file(freeze(model, spec), spec, "tflite"), spec, images, "minmax")
    dropped = engine.build()
    monkeypatch.setattr(integer_io, "drop_activations", lambda graph: None)
    kept = engine.build()
    for data, version, fused in ((kept, 4, 2), (dropped, 3, 0)):
        graph = TfliteGraph.read(data)
        convs = [op for op in graph.operators if graph.op_name(op) == "TRANSPOSE_CONV"]
        assert len(convs) == 2 and {graph.code(op).version for op in convs} == {version}
        assert sum(op.builtinOptions.fusedActivationFunction > 0 for op in convs) == fused
    runs = [LiteRTBackend(data) for data in (kept, dropped)]
    for tensor in images.tensors(spec):
        before, after = (np.array(run.run(tensor.astype(np.uint8))) for run in runs)
        np.testing.assert_array_equal(before, after)
