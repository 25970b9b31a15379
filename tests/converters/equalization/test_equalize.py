"""``channels``, ``network``, ``scales``, ``tflite_network``, ``onnx_network``, ``equalize``: float stays the same."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import Format
from edgeseg.imaging import encode_image
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime import open_artifact
from edgeseg.spec import ModelSpec, Provenance
from edgeseg_converters.calibration import CalibrationSet, choose
from edgeseg_converters.equalization.channels import Channels
from edgeseg_converters.equalization.equalize import equalize
from edgeseg_converters.equalization.onnx_network import OnnxNetwork
from edgeseg_converters.equalization.scales import choose_factors
from edgeseg_converters.equalization.tflite_network import TfliteNetwork
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.quantization.engines import FloatFile, float_file
from edgeseg_converters.rewrites import rewrite, rules_for

SIZE = (32, 48)
SPEC = (
    ZOO["unet_mini"]
    .default_spec(3, SIZE)
    .replace(dtype="uint8", output_kind="logits", provenance=Provenance(precision="int8"))
)
FORMATS: tuple[Format, ...] = ("tflite", "onnx")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        (folder / f"{seed}.png").write_bytes(encode_image(natural_noise(100 + seed, SIZE)))
    return choose(folder)


def conv(filters: int, x: Any, *, seed: int, size: int = 3, **options: Any) -> Any:
    return layers.Conv2D(
        filters,
        size,
        padding="same",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        bias_initializer=keras.initializers.RandomUniform(-0.2, 0.2, seed),
        **options,
    )(x)


def uneven(channels: int, seed: int) -> layers.Layer:
    """A depthwise 1x1 convolution whose channels have ranges 100-fold apart."""
    kernel = 10 ** np.random.default_rng(seed).uniform(-1, 1, (1, 1, channels, 1))
    return layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(kernel))


def decoder(x: Any) -> Any:
    """Give all kinds of places that a factor passes through."""
    x = layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))
    skip = x
    x = layers.MaxPooling2D()(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(0.1))(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Activation("sigmoid")(conv(16, layers.ReLU()(conv(4, gate, seed=2, size=1)), seed=3, size=1))
    x = layers.Multiply()([x, gate])
    x = layers.Add()([uneven(16, 4)(conv(16, x, seed=5)), x])
    x = layers.UpSampling2D(interpolation="bilinear")(layers.LeakyReLU()(x))
    x = layers.Concatenate()([x, layers.AveragePooling2D(3, 1, "same")(skip)])
    x = layers.Conv2DTranspose(8, 2, strides=2, activation="relu")(layers.ZeroPadding2D(1)(x))
    x = keras.ops.nn.depth_to_space(x, 2) if hasattr(keras.ops.nn, "depth_to_space") else x
    return layers.AveragePooling2D(2)(x)[:, 1:-1, 1:-1]


def grouped(x: Any) -> Any:
    x = layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))
    x = layers.ReLU()(uneven(8, 2)(conv(8, x, seed=1, groups=2)))
    return conv(8, x, seed=3, groups=4)


def with_swish(x: Any) -> Any:
    return layers.Activation("swish")(uneven(8, 1)(conv(8, x, seed=0)))


def reversed_channels(x: Any) -> Any:
    return layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))[..., ::-1]


def shared_layer(x: Any) -> Any:
    twice = layers.Conv2D(8, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(7))
    return twice(layers.ReLU()(uneven(8, 2)(twice(layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))))))


def elu_residual(x: Any) -> Any:
    x = layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))
    return layers.Add()([conv(8, x, seed=1), layers.ELU()(conv(8, x, seed=2))])


def shared_residual(x: Any) -> Any:
    twice = layers.Conv2D(8, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(7))
    x = layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))
    return layers.Add()([twice(x), uneven(8, 2)(twice(conv(8, x, seed=2)))])


def masked_by_constant(x: Any) -> Any:
    x = layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))
    limits = np.linspace(0.1, 0.8, 8, dtype=np.float32).reshape(1, 1, 1, 8)
    return layers.Multiply()([x, keras.ops.cast(keras.ops.greater(x, limits), "float32")])


def clipped(x: Any) -> Any:
    return layers.ReLU(6)(uneven(8, 1)(conv(8, x, seed=0)))


def unpooling(x: Any) -> Any:
    x = layers.ReLU()(uneven(8, 1)(conv(8, x, seed=0)))
    x, index = MaxPoolingWithArgmax2D()(x)
    x = layers.ReLU()(uneven(8, 2)(conv(8, x, seed=1)))
    return MaxUnpooling2D()([x, index])


def model_of(body: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    return keras.Model(inputs, conv(3, body(inputs), seed=9, size=1, name="logits"))


def float_of(body: Any, file_format: Format, target: str = "generic") -> FloatFile:
    rules = rules_for(file_format, target)  # type: ignore[arg-type]
    model = rewrite(model_of(body), rules.in_order(optimize=True)).model
    spec = SPEC.replace(provenance=Provenance(precision="int8", target=target))  # type: ignore[arg-type]
    return float_file(freeze(model, spec), spec, file_format)


def outputs(data: bytes, file_format: Format, spec: ModelSpec, images: CalibrationSet) -> np.ndarray[Any, Any]:
    backend = open_artifact(data, file_format)
    kind = backend.inputs[0].dtype
    found = np.concatenate([np.array(backend.run(tensor.astype(kind))) for tensor in images.tensors(spec)])
    backend.close()
    return found


def spread(data: bytes, file_format: Format, images: CalibrationSet, spec: ModelSpec) -> float:
    """Return how far apart the ranges of the channels of a map are: the median of all free maps."""
    network = TfliteNetwork(data) if file_format == "tflite" else OnnxNetwork(data, spec.layout)
    return float(np.median([most.max() / most[most > 0].min() for most in network.largest(images, spec).values()]))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("body", [decoder, grouped, clipped, unpooling])
def test_float_is_the_same_to_the_bit_and_the_ranges_are_nearer(
    body: Any, file_format: Format, images: CalibrationSet
) -> None:
    source = float_of(body, file_format)
    equalized = equalize(source.data, file_format, images, source.spec)
    before, after = (outputs(data, file_format, source.spec, images) for data in (source.data, equalized))
    np.testing.assert_array_equal(before, after)
    # Of the hundredfold, the root is left where a convolution reads the map; below a limit it is less.
    wide, narrow = (spread(data, file_format, images, source.spec) for data in (source.data, equalized))
    assert narrow < wide / (1 if body is clipped else 2), (wide, narrow)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "body", [with_swish, reversed_channels, shared_layer, elu_residual, shared_residual, masked_by_constant]
)
def test_what_does_not_commute_keeps_its_channels(body: Any, file_format: Format, images: CalibrationSet) -> None:
    source = float_of(body, file_format)
    network = TfliteNetwork(source.data) if file_format == "tflite" else OnnxNetwork(source.data, "nhwc")
    network.scale(choose_factors(network, network.largest(images, source.spec)))  # what equalize would prove
    before, after = (outputs(data, file_format, source.spec, images) for data in (source.data, network.write()))
    np.testing.assert_array_equal(before, after)


def test_a_result_that_differs_is_not_used(
    images: CalibrationSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = float_of(grouped, "tflite")
    monkeypatch.setattr(TfliteNetwork, "_fix", lambda self, tensors: None)  # the logits are scaled, too
    assert equalize(source.data, "tflite", images, source.spec) == source.data
    assert "please report" in caplog.text


def test_the_unpooling_ops_of_a_delegate_pass_a_factor_on(images: CalibrationSet) -> None:
    source = float_of(unpooling, "tflite", "xnnpack")
    equalized = equalize(source.data, "tflite", images, source.spec)
    assert equalized != source.data
    before, after = (outputs(data, "tflite", source.spec, images) for data in (source.data, equalized))
    np.testing.assert_array_equal(before, after)


def test_channels_that_are_tied_to_a_fixed_one_are_fixed() -> None:
    channels = Channels()
    one, other = channels.of("one", 3), channels.of("other", 3)
    channels.tie(one[:2], other[1:])
    channels.fix(other[2:])
    assert channels.groups(one).tolist() == [one[0], 0, one[2]]
    assert channels.free().keys() == {"one", "other"}
    channels.fix(one)
    assert channels.groups(other).tolist() == [other[0], 0, 0]


def test_a_limit_is_obeyed(images: CalibrationSet) -> None:
    source = float_of(clipped, "tflite")
    network = TfliteNetwork(source.data)
    (limit,) = network.limits
    largest = network.largest(images, source.spec)
    factors = choose_factors(network, largest)
    used = factors[network.channels.free()[limit.name]]
    assert used.min() < 1 and used.max() <= 1
    # Twice the largest value on the images is below the limit that is left.
    moved = used < 1
    assert (2 * largest[limit.name][moved] <= limit.value * used[moved]).all()
