"""``calibrate``: ONNX int8: tiny calibrated models, quantized on images
and run by ONNX Runtime beside their float file.
"""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgeseg.choices import CalibrationMethod, Layout
from edgeseg.errors import InputError
from edgeseg.imaging import preprocess
from edgeseg.models import create
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.models.opening import ModelRequest, load_model
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters.calibration import CalibrationSet, Ranges, choose
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.freeze import INPUT_NAME, freeze
from edgeseg_converters.onnx.calibrate import measure, values
from edgeseg_converters.onnx.convert import tap_logits, to_onnx
from edgeseg_converters.onnx.quantize import SCHEME_KEY, Scheme, quantizable, quantize
from edgeseg_converters.options import DEFAULT_METHOD
from edgeseg_converters.quantization.tails import cut
from edgeseg_converters.rewrites import rewrite, rules_for

SIZE = (32, 64)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        cv2.imwrite(str(folder / f"{seed}.png"), natural_noise(100 + seed, SIZE)[..., ::-1])
    return choose(folder)


def spec_for(model: keras.Model, layout: Layout = "nhwc") -> ModelSpec:
    """A uint8 class-map spec with a mean and a std that a swapped channel would show."""
    classes, size = model.output_shape[-1], model.input_shape[1:3]
    return ModelSpec(
        name="tiny",
        input_size=size,
        class_names=default_class_names(classes),
        palette=default_palette(classes),
        layout=layout,
        dtype="uint8",
        mean=(123.7, 116.3, 103.5),
        std=(58.4, 57.1, 57.4),
        output_kind="argmax",
    )


def float_file(model: keras.Model, spec: ModelSpec) -> bytes:
    rules = rules_for("onnx")
    return to_onnx(freeze(rewrite(model, (*rules.swaps, *rules.speed_ups)).model, spec), spec)


def calibrated(model: keras.Model) -> keras.Model:
    """Batch-norm statistics of real activations, without which a deep random model gives one class."""
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    size = model.input_shape[1:3]
    spec = spec_for(model).replace(dtype="float32")
    model(np.concatenate([preprocess(natural_noise(seed, size), spec)[0] for seed in range(1, 5)]), training=True)
    return model


def ranges_of(
    data: bytes, images: CalibrationSet, spec: ModelSpec, method: CalibrationMethod = DEFAULT_METHOD
) -> Ranges:
    whole = measure(data, images, spec)
    return cut(whole, values(data, [name for name in whole.low if name != INPUT_NAME], images, spec), method)


def run(data: bytes, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    backend = OnnxBackend(data)
    (info,) = backend.inputs
    return np.asarray(backend.run(image.astype(info.dtype)))


def agreement(first: bytes, second: bytes, spec: ModelSpec) -> float:
    images = [preprocess(natural_noise(seed, spec.input_size), spec)[0] for seed in range(200, 204)]
    return float(np.mean([run(first, image) == run(second, image) for image in images]))


@pytest.fixture(scope="module")
def unet(images: CalibrationSet) -> tuple[bytes, ModelSpec]:
    keras.utils.set_random_seed(3)
    model = calibrated(create("unet_mini", num_classes=4, input_size=SIZE))
    spec = spec_for(model)
    return float_file(model, spec), spec


@pytest.mark.slow
def test_trained_weights_keep_their_classes(images: CalibrationSet) -> None:
    opened = load_model(None, ModelRequest(input_size=(64, 96)))
    spec = opened.spec.replace(dtype="uint8", output_kind="argmax")
    data = float_file(opened.model, spec)
    assert agreement(data, quantize(data, ranges_of(data, images, spec)), spec) > 0.9
    keras.backend.clear_session()


# A random network amplifies the rounding of each layer in the next ones, 1 to 2 dB a layer, so after fifty its classes
# say little; that all of it runs on integers says more.
@pytest.mark.slow
def test_a_whole_model_runs_on_integers(images: CalibrationSet, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = calibrated(create("mobilenet_unet", num_classes=4, input_size=(64, 64)))
    spec = spec_for(model)
    data = float_file(model, spec)
    quantized = quantize(data, ranges_of(data, images, spec, "minmax"))
    assert agreement(data, quantized, spec) > 0.25  # the share of chance
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as_it_runs.onnx")
    onnxruntime.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "as_it_runs.onnx").graph.node}
    assert "QLinearConv" in kinds
    assert kinds.isdisjoint({"Conv", "FusedConv", "BatchNormalization", "Add", "Mul", "Relu", "Clip"})
    keras.backend.clear_session()


@pytest.mark.parametrize("layout", ["nhwc", pytest.param("nchw", marks=pytest.mark.slow)])
def test_bytes_in_and_class_map_out(layout: Layout, images: CalibrationSet) -> None:
    keras.utils.set_random_seed(3)
    model = calibrated(create("unet_mini", num_classes=4, input_size=SIZE))
    spec = spec_for(model, layout)
    data = float_file(model, spec)
    quantized = quantize(data, ranges_of(data, images, spec))
    backend = OnnxBackend(quantized)
    assert backend.spec == spec
    assert (backend.inputs[0].dtype, backend.outputs[0].dtype) == ("uint8", "uint8")
    assert backend.inputs[0].shape == ((1, 3, *SIZE) if layout == "nchw" else (1, *SIZE, 3))
    graph = onnx.load_from_string(quantized).graph
    assert [node.op_type for node in graph.node if "image" in node.input] == ["DequantizeLinear"]
    assert agreement(data, quantized, spec) > 0.9


def test_the_normalization_inside_is_the_one_outside() -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3, padding="same")(inputs))
    spec = spec_for(model).replace(output_kind="logits")
    image = natural_noise(1, (8, 8))
    expected = model(preprocess(image, spec.replace(dtype="float32"))[0]).numpy()
    # One product and one sum, rounded in another order: two steps of a float32 near 4.
    np.testing.assert_allclose(run(to_onnx(freeze(model, spec), spec), image[None]), expected, atol=1e-5)


def test_weights_fit_16_bit_sums_where_those_saturate(unet: tuple[bytes, ModelSpec], images: CalibrationSet) -> None:
    data, spec = unet
    ranges = ranges_of(data, images, spec)
    for scheme, most in ((Scheme(), 64), (Scheme(reduce_range=False), 127)):
        model = onnx.load_from_string(quantize(data, ranges, scheme=scheme))
        weights = [
            numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4
        ]
        dense = [np.abs(weight.astype(int)).max() for weight in weights if weight.shape[1] > 1]
        depthwise = [np.abs(weight.astype(int)).max() for weight in weights if weight.shape[1] == 1]
        assert max(dense) == most
        assert max(depthwise) == 127
        (entry,) = [prop.value for prop in model.metadata_props if prop.key == SCHEME_KEY]
        assert json.loads(entry) == dataclasses.asdict(scheme)


def test_ops_can_be_kept_and_chosen(unet: tuple[bytes, ModelSpec], images: CalibrationSet) -> None:
    data, spec = unet
    ranges = ranges_of(data, images, spec)
    ops = quantizable(data)
    convolutions = [node.output[0] for node in onnx.load_from_string(data).graph.node if node.op_type == "Conv"]
    assert set(convolutions) < set(ops)
    one = convolutions[len(convolutions) // 2]
    kept, alone = (
        onnx.load_from_string(quantize(data, ranges, **how)).graph for how in ({"keep": [one]}, {"only": [one]})
    )  # type: ignore[arg-type]
    assert one not in _on_integers(kept)
    assert _on_integers(alone) == {one}
    # What rescue.sensitivity looks at.
    assert OnnxBackend(tap_logits(quantize(data, ranges, only=[one]))).outputs[0].dtype == "float32"
    # Nothing quantized: the float model behind a Cast, to the bit.
    nothing = quantize(data, ranges, only=[])
    assert quantize(data, ranges, keep=ops) == nothing
    assert agreement(data, nothing, spec) == 1
    assert "QuantizeLinear" not in [node.op_type for node in onnx.load_from_string(nothing).graph.node]


def test_unpooling_moves_integers_unchanged(images: CalibrationSet) -> None:
    """Pool, then unpool the pooled values: what comes out is, in every window, the quantized maximum and zeros."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="before")(inputs)
    pooled, index = MaxPoolingWithArgmax2D(2)(x)
    y = MaxUnpooling2D(2)([pooled, index])
    model = keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(y))
    spec = spec_for(model)
    data = float_file(model, spec)
    graph = onnx.load_from_string(quantize(data, ranges_of(data, images, spec)))
    before = next(node.input[0] for node in graph.graph.node if node.op_type == "SpaceToDepth")
    after = next(node.output[0] for node in graph.graph.node if node.op_type == "DepthToSpace")
    del graph.graph.output[:]
    graph.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (before, after)
    )
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    source, unpooled = session.run(None, {"image": natural_noise(9, SIZE)[None]})
    windows = source.reshape(1, 4, 16, 2, 32, 2).transpose(0, 1, 2, 4, 3, 5).reshape(1, 4, 16, 32, 4)
    first = windows.argmax(-1)[..., None] == np.arange(4)  # argmax takes the first of a tie, as the index does
    expected = np.where(first, windows, 0).reshape(1, 4, 16, 32, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(source.shape)
    np.testing.assert_array_equal(unpooled, expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_memory_does_not_grow_with_the_images(
    method: CalibrationMethod, unet: tuple[bytes, ModelSpec], images: CalibrationSet
) -> None:
    data, spec = unet
    peaks = []
    for repeats in (1, 4):
        many = dataclasses.replace(images, paths=images.paths * repeats)
        tracemalloc.start()
        ranges_of(data, many, spec, method)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Three times the images' extremes, 8 bytes for each tensor, are kept; one image's tensors are megabytes.
    assert peaks[1] < 1.1 * peaks[0]


def test_a_broken_image_is_named(unet: tuple[bytes, ModelSpec], images: CalibrationSet, tmp_path: Path) -> None:
    data, spec = unet
    broken = tmp_path / "broken.png"
    broken.write_bytes(images.paths[0].read_bytes()[:100])
    with pytest.raises(InputError, match=r"broken\.png"):
        ranges_of(data, dataclasses.replace(images, paths=(*images.paths, broken)), spec)


def _on_integers(graph: onnx.GraphProto) -> set[str]:
    """Names of the convolutions that read dequantized weights."""
    made = {node.output[0]: node.op_type for node in graph.node}
    return {
        node.name for node in graph.node if node.op_type == "Conv" and made.get(node.input[1]) == "DequantizeLinear"
    }


def test_image_pooling_is_no_bias_in_integers(images: CalibrationSet, caplog: pytest.LogCaptureFixture) -> None:
    """The map of one pixel that DeepLab adds; the quantizer for ONNX wants constants in the place of a bias."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", bias_initializer="normal")(inputs)
    pooled = layers.Conv2D(6, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = keras.Model(inputs, layers.Add()([layers.Conv2D(6, 1, use_bias=False)(x), pooled]))
    spec = spec_for(model)
    data = to_onnx(freeze(model, spec.replace(dtype="float32", mean=(0.0,) * 3, std=(1.0,) * 3)), spec)
    for made in (data, quantize(data, measure(data, images, spec))):
        graph = onnx.load_from_string(made).graph
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants}
        biases = [node.input[2] for node in graph.node if node.op_type == "Conv" and len(node.input) > 2]
        assert biases and not set(biases) - constants
    assert "Expected bias" not in caplog.text
