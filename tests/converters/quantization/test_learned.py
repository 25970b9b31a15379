"""``quantization.learned``: the file computes what was trained in integers."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops
from numpy.typing import NDArray
from PIL import Image

from edgeseg.choices import TrainedFormat, TrainedPrecision
from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import load_keras_file, read_ranges, save_model
from edgeseg.models.learned_ranges import LearnedRanges
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, default_palette
from edgeseg.training.quantization.network import FakeQuantized, calibrate, fake_quantized
from edgeseg.training.quantization.scheme import Scheme
from edgeseg.training.quantization.weights import on_integers
from edgeseg_converters import Quantization, export

SIZE = (64, 96)
SPEC = ModelSpec(
    name="tiny", input_size=SIZE, class_names=("a", "b", "c"), palette=default_palette(3), mean=(127.5,) * 3,
    std=(127.5,) * 3,
)  # fmt: skip
IMAGE = SPEC.mean, SPEC.std
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight smooth images of the model's size."""
    path = tmp_path_factory.mktemp("images")
    for number in range(8):
        small = Image.fromarray(RNG.integers(0, 256, (16, 24, 3)).astype(np.uint8))
        small.resize(SIZE[::-1], Image.Resampling.BICUBIC).save(path / f"{number}.png")
    return path


@pytest.fixture(scope="module")
def pixels(folder: Path) -> NDArray[np.float32]:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """What shares scales, what is folded, what kernels round, and what a ReLU6 gives joined to what is wider."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(layers.ZeroPadding2D(1)(image))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
    y = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(y))
    x = layers.Add()([x, y])
    z = layers.SeparableConv2D(12, 3, padding="same", activation="relu")(layers.MaxPooling2D(2)(x))
    z = layers.UpSampling2D(2, interpolation="bilinear")(layers.Dropout(0.1)(z))
    cut = layers.ReLU(6.0)(layers.Conv2D(4, 1, kernel_initializer=keras.initializers.RandomNormal(0, 2))(x))
    x = layers.Conv2D(3, 1)(layers.Concatenate()([cut, x, z]))
    built = keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear")(x), name="tiny")
    for layer in built.layers:
        if isinstance(layer, layers.BatchNormalization):
            channels = layer.moving_mean.shape
            layer.moving_mean.assign(0.1 * RNG.normal(size=channels))
            layer.moving_variance.assign(RNG.uniform(0.05, 0.3, channels))
            layer.gamma.assign(RNG.uniform(0.5, 1.5, channels))
    return built


@pytest.mark.parametrize(("precision", "file_format"), [("int8", "tflite"), ("int8", "onnx"), ("w8a16", "tflite")])
def test_the_file_computes_what_was_trained(
    model: keras.Model, folder: Path, pixels: NDArray[np.float32], tmp_path: Path, precision: TrainedPrecision,
    file_format: TrainedFormat,
) -> None:  # fmt: skip
    normalized = (pixels - np.float32(127.5)) / np.float32(127.5)
    trained = FakeQuantized(model, Scheme(precision), IMAGE)
    calibrate(trained, [normalized])
    # As a training would have it: the ends are where no image of the calibration puts them.
    trained.learned.assign(-0.02 * RNG.uniform(size=trained.learned.shape))
    before = [ops.convert_to_numpy(weights).copy() for weights in model.weights]
    with on_integers(trained) as network:
        save_model(network, tmp_path / "best.keras", SPEC, ranges=trained.ranges())
    for weights, earlier in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weights), earlier)

    best, ranges = load_keras_file(tmp_path / "best.keras"), read_ranges(tmp_path / "best.keras")
    assert ranges is not None
    result = export(
        best, format=file_format, precision=precision, spec=SPEC, data=str(folder), verify=False,
        quantization=Quantization(learned=ranges),
    )  # fmt: skip
    with Segmenter(open_artifact(result.data, file_format)) as segmenter:
        answers = np.stack([segmenter(image.astype(np.uint8)).class_map for image in pixels])
    layer = fake_quantized(best, ranges, IMAGE, Scheme(precision, file_format))
    expected = ops.convert_to_numpy(layer(normalized)).argmax(-1)
    as_float = ops.convert_to_numpy(best(normalized)).argmax(-1)
    # Measured: all pixels are the same in int8, where 0.08 % are not the float model's. The sums of w8a16 exceed 2^24,
    # up to which float32 is exact: 0.02 % differ.
    assert np.mean(answers == expected) >= (0.9999 if precision == "int8" else 0.999)
    if precision == "int8":
        assert np.mean(answers == as_float) < 0.9999


def test_ranges_of_another_model_are_refused(model: keras.Model, folder: Path) -> None:
    ranges = LearnedRanges(precision="int8", limits={"elsewhere": (0.0, 1.0)})
    with pytest.raises(InputError, match="are of another model: it has no layer 'elsewhere'"):
        export(model, precision="int8", spec=SPEC, data=str(folder), quantization=Quantization(learned=ranges))
    with pytest.raises(InputError, match=r"`ptq='equalize'` changes what the model learned its ranges for: omit `ptq`"):
        export(
            model, precision="int8", spec=SPEC, data=str(folder),
            quantization=Quantization(learned=ranges, ptq="equalize"),
        )  # fmt: skip
