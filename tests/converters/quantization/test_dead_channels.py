"""``tflite.quantize`` and ``onnx.quantize``: a channel whose weights have died in training keeps its bias.

Half of the depthwise channels of a MobileNet may be such: the batch norm has their factor near 0, and its shift is what
the next layers read.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import Format
from edgeseg.imaging import encode_image
from edgeseg.runtime import open_artifact
from edgeseg.spec import ModelSpec, Provenance, default_class_names, default_palette
from edgeseg_converters.calibration import CalibrationSet, choose
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.onnx.convert import tap_logits as tap_onnx
from edgeseg_converters.quantization.engines import float_file, open_engine
from edgeseg_converters.tflite.convert import tap_logits as tap_tflite

SIZE = (32, 32)
SPEC = ModelSpec(
    name="tiny",
    input_size=SIZE,
    class_names=default_class_names(3),
    palette=default_palette(3),
    mean=(127.5,) * 3,
    std=(127.5,) * 3,
    dtype="uint8",
    output_kind="argmax",
    provenance=Provenance(precision="int8"),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        (folder / f"{seed}.png").write_bytes(
            encode_image(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8))
        )
    return choose(folder)


def with_dead_channels(weight: float) -> keras.Model:
    """Return a model with such a channel in each kind of convolution; its maps reach from -100 to 100."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    wide = keras.initializers.RandomNormal(0, 20)
    first = layers.Conv2D(6, 3, padding="same", kernel_initializer=wide)
    depthwise = layers.DepthwiseConv2D(3, padding="same")
    transposed = layers.Conv2DTranspose(4, 2, strides=2)
    last = layers.Conv2D(
        3, 1, kernel_initializer=keras.initializers.RandomNormal(0, 0.01)
    )  # finer steps than its input's
    x = layers.MaxPooling2D()(depthwise(layers.ReLU()(first(image))))
    model = keras.Model(image, last(transposed(x)))
    dead = {
        first: (np.s_[..., 2], 7.0),
        depthwise: (np.s_[:, :, 4], -13.0),
        transposed: (np.s_[:, :, 1], 9.0),
        last: (np.s_[..., 2], 0.2),
    }
    for layer, (place, bias) in dead.items():
        weights, biases = layer.get_weights()
        weights[place] = weight
        biases[place[-1]] = bias
        layer.set_weights([weights, biases])
    return model


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e-13, 1e-9])
def test_a_channel_of_zeros_keeps_its_bias(weight: float, file_format: Format, images: CalibrationSet) -> None:
    model = with_dead_channels(weight)
    data = open_engine(float_file(freeze(model, SPEC), SPEC, file_format), SPEC, file_format, images).build()
    tapped = (tap_tflite if file_format == "tflite" else tap_onnx)(data)
    backend = open_artifact(tapped, file_format)
    tensors = [tensor.astype(np.uint8) for tensor in images.tensors(SPEC)]
    logits = np.concatenate([np.array(backend.run(tensor), np.float32) for tensor in tensors])
    (output,) = backend.outputs
    if output.dtype == "int8":
        logits = (logits - output.zero_point) * output.scale
    backend.close()
    expected = model.predict((np.concatenate(tensors) - np.float32(127.5)) / np.float32(127.5), verbose=0)
    # ONNX weights have 7 bits here, and the errors of four layers add up: 0.035; without the biases it is 0.2 at least.
    off = np.abs(logits - expected).mean(axis=(0, 1, 2)) / expected.std()
    assert off.max() < 0.05, off
