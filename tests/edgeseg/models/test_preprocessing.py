"""What a model without a spec is taken to be fed with, by ``preprocessing`` and ``pixel_probe``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.datasets import Classes
from edgeseg.models import create
from edgeseg.models.keras_graph import as_functional
from edgeseg.models.opening import ModelRequest, assumed_spec, at_input_size, load_model
from edgeseg.models.pixel_probe import arrivals
from edgeseg.models.preprocessing import takes_pixels, warn_of_faint_images, zoo_model_of
from edgeseg.models.zoo.table import ZOO
from edgeseg.spec import default_palette
from edgeseg.training.building import build_models
from edgeseg.training.config import TrainConfig

SIZE = (16, 16)
RAW, MIDDLE = ((0.0,) * 3, (1.0,) * 3), ((127.5,) * 3, (127.5,) * 3)


def ending_in_a_map(start: Callable[[Any], Any], dtype: str = "float32", name: str = "own") -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3), dtype=dtype)
    return keras.Model(inputs, layers.Conv2D(3, 1, name="first")(start(inputs)), name=name)


def nested(x: Any) -> Any:
    """As a backbone of keras.applications has it, behind a cast and augmentations."""
    inner = keras.Input((*SIZE, 3))
    stem = keras.Model(inner, layers.Rescaling(1 / 127.5, offset=-1)(inner))
    return stem(keras.Sequential([layers.RandomFlip()])(keras.ops.cast(x, "float32")))


def beside(x: Any) -> Any:
    """The image is read by another layer too."""
    return layers.Concatenate()([layers.Rescaling(1 / 255)(x), x])


def statistics(scale: float) -> Callable[[Any], Any]:
    return layers.Normalization(mean=[0.5 * scale] * 3, variance=[(0.2 * scale) ** 2] * 3)


@keras.saving.register_keras_serializable(package="test_preprocessing")
class Block(layers.Layer):
    """A layer of layers, as KerasHub's backbones have them: its scaling is seen in what its convolution gets."""

    def __init__(self, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale
        self.pad = layers.ZeroPadding2D()
        self.conv = layers.Conv2D(2, 3, name="inner")
        self.norm = layers.LayerNormalization()

    def build(self, shape: Any) -> None:
        self.conv.build(self.pad.compute_output_shape(shape))
        self.norm.build((None, *SIZE, 2))

    def call(self, x: Any) -> Any:
        return self.norm(self.conv(self.pad(x * self.scale - (self.scale < 1))))


class Channelwise(layers.Layer):
    """Mean and deviation as weights, as a layer of the user's own has them."""

    def build(self, shape: Any) -> None:
        self.mean = self.add_weight(shape=(1, 1, 1, 3), initializer=keras.initializers.Constant(120), trainable=False)
        self.deviation = self.add_weight(shape=(3,), initializer=keras.initializers.Constant(58), trainable=False)

    def call(self, x: Any) -> Any:
        return (x - self.mean) / self.deviation


class Whole(keras.Model):
    """A subclassed model: one layer, which is the model itself."""

    def __init__(self) -> None:
        super().__init__(name="whole")
        self.conv = layers.Conv2D(3, 1, name="first")
        self.last = layers.Conv2D(3, 1, name="last")

    def call(self, x: Any) -> Any:
        return self.last(keras.ops.relu(self.conv(x / 127.5 - 1)))


def batch_normalization(mean: float, deviation: float) -> Callable[[Any], Any]:
    """One on the image itself, as segmentation_models has it: its statistics are those of what it was fed."""

    def start(x: Any) -> Any:
        statistics = {"moving_mean_initializer": mean, "moving_variance_initializer": deviation**2}
        constants = {key: keras.initializers.Constant(value) for key, value in statistics.items()}
        return layers.BatchNormalization(**constants)(x)

    return start


def per_channel(x: Any) -> Any:
    """ImageNet's mean and deviation, channel by channel."""
    channels = zip(keras.ops.split(x, 3, axis=-1), (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), strict=True)
    return keras.ops.concatenate([(channel - mean) / std for channel, mean, std in channels], axis=-1)


def standardized(x: Any) -> Any:
    """As ``tf.image.per_image_standardization``."""
    return (x - keras.ops.mean(x)) / keras.ops.maximum(keras.ops.std(x), 1e-3)


SCALES = "scales pixels itself (its 'first' gets "


@pytest.mark.parametrize(
    ("start", "dtype", "reason"),
    [
        (layers.Rescaling(1 / 255), "uint8", "takes uint8"),
        (lambda x: keras.ops.cast(x, "float32") / 255, "int32", "takes int32"),
        (layers.Rescaling(1 / 255), "float32", SCALES + "0 to 1)"),
        (nested, "float32", SCALES + "-1 to 1)"),
        (beside, "float32", SCALES + "0 to 1)"),
        (statistics(255), "float32", SCALES + "-2.5 to 2.5)"),
        (keras.applications.resnet.preprocess_input, "float32", SCALES + "-124 to 151)"),
        (keras.applications.mobilenet_v2.preprocess_input, "float32", SCALES + "-1 to 1)"),
        (lambda x: 1 / 127.5 * x - 1, "float32", SCALES + "-1 to 1)"),
        (lambda x: keras.ops.divide(x, 255), "float32", SCALES + "0 to 1)"),
        # Ops that keep or move the pixels before they are scaled, and noise that inference has none of:
        (lambda x: keras.ops.flip(x, -1) / 255, "float32", SCALES + "0 to 1)"),
        (
            lambda x: keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])[:, 1:-1, 1:-1] / 255,
            "float32",
            SCALES + "0 to 1)",
        ),
        (lambda x: layers.Rescaling(1 / 255)(layers.GaussianNoise(0.9)(x)), "float32", SCALES + "0 to 1)"),
        (lambda x: layers.ZeroPadding2D()(x - 120)[:, 1:-1, 1:-1], "float32", SCALES + "-120 to 135)"),
        (lambda x: layers.Rescaling(1 / 255)(layers.Activation("relu")(x)), "float32", SCALES + "0 to 1)"),
        (lambda x: layers.AveragePooling2D(2)(layers.UpSampling2D()(x)) / 255, "float32", SCALES + "0 to 1)"),
        (lambda x: keras.ops.matmul(x, 0.5 * np.eye(3, dtype="float32")) / 64, "float32", SCALES + "0 to 1.99)"),
        # More than a factor and an offset:
        (per_channel, "float32", SCALES + "-2.12 to 2.64)"),
        (standardized, "float32", SCALES + "-1.63 to 1.63)"),
        (lambda x: x / keras.ops.max(x), "float32", SCALES + "0 to 1)"),
        (lambda x: (x / 255) ** 2.2, "float32", SCALES + "0 to 1)"),
        # Weights that are statistics are preprocessing, too:
        (Channelwise(), "float32", SCALES + "-2.07 to 2.33)"),
        (batch_normalization(120, 60), "float32", SCALES + "-2 to 2.25)"),
        (Block(1 / 127.5), "float32", "scales pixels itself (its 'inner' gets -1 to 1)"),
        # Made for pixels that are in [0, 1] or in [-1, 1] already, or for nothing of the kind:
        (lambda x: (x - 0.5) * 2, "float32", ""),
        (statistics(1), "float32", ""),
        (batch_normalization(0.45, 0.25), "float32", ""),
        (batch_normalization(0, 1), "float32", ""),
        (layers.Rescaling(0.5, offset=0.5), "float32", ""),
        (layers.Normalization(), "float32", ""),
        (layers.Activation("relu"), "float32", ""),
        (layers.Activation("tanh"), "float32", ""),
        (lambda x: keras.ops.clip(x, -1, 1), "float32", ""),
        (lambda x: x / x, "float32", ""),
        (lambda x: 300 / x, "float32", ""),
        (Block(), "float32", ""),
        # The mean of the image is the same for all of its parts, and says nothing of its range:
        (lambda x: x + keras.ops.mean(x, (1, 2), keepdims=True) / 255, "float32", ""),
        # What comes after a weighted layer is not the image any more:
        (lambda x: layers.Conv2D(3, 1)(x) / 255, "float32", ""),
    ],
)
def test_what_takes_pixels_as_they_are(start: Any, dtype: str, reason: str) -> None:
    assert takes_pixels(ending_in_a_map(start, dtype)) == reason


def test_a_subclassed_model_is_looked_into_and_left_as_it_is() -> None:
    model = Whole()
    wrapped = as_functional(model, SIZE)
    pixels = np.full((1, *SIZE, 3), 9, "float32")
    before = keras.ops.convert_to_numpy(model(pixels))
    assert takes_pixels(wrapped) == "scales pixels itself (its 'first' gets -1 to 1)"
    assert "call" not in vars(model.conv)
    assert np.array_equal(keras.ops.convert_to_numpy(model(pixels)), before)


def test_a_model_that_cannot_be_run_on_the_test_image_says_nothing() -> None:
    class Moody(layers.Layer):
        def call(self, x: Any) -> Any:
            raise RuntimeError("not today")

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(x.shape, x.dtype)

    assert arrivals(ending_in_a_map(Moody())) == []


def test_an_open_size_and_a_second_input_are_no_hindrance() -> None:
    image, other = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    scaled = layers.Concatenate()([layers.Rescaling(1 / 255)(image), layers.Conv2D(3, 1, name="beside")(other)])
    first = layers.Conv2D(3, 1, name="first")(layers.Rescaling(1 / 255)(image))
    (found,) = arrivals(keras.Model([image, other], [first, scaled]))
    assert (found.layer, *found.low, *found.high) == ("first", 0, 0, 0, 1, 1, 1)


@pytest.mark.parametrize(("start", "feeding"), [(statistics(255), RAW), (layers.Activation("relu"), MIDDLE)])
def test_a_file_is_fed_as_its_first_layer_says_and_that_is_one_line(
    start: Any, feeding: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "own.keras"
    ending_in_a_map(start).save(path)
    with caplog.at_level(logging.WARNING):
        opened = [
            load_model(str(path)).spec,
            build_models(
                TrainConfig(model=str(path), data="data"),
                Classes(names=("a", "b", "c"), palette=default_palette(3), ignore_index=255),
            ).spec,
        ]
    assert [(spec.mean, spec.std) for spec in opened] == [feeding, feeding]
    for said in caplog.messages:
        assert (
            SCALES + "-2.5 to 2.5); assuming RGB, letterbox, bilinear, pixels in [0, 255] as they are;" in said
        ) == (feeding is RAW)
    # Each command names the options that it has.
    assert [said.rpartition("; ")[2] for said in caplog.messages] == [
        "give `mean`, `std`, `color_order`, `fit` and `resize` where that is wrong",
        "give `mean`, `std` and `resize` where that is wrong",
    ]


def test_what_the_user_says_is_not_assumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(tmp_path / "own.keras")
    ending_in_a_map(layers.Activation("relu")).save(path)
    given = {"mean": (1.0,) * 3, "std": (2.0,) * 3, "color_order": "bgr", "resize": "area"}
    own = load_model(path, ModelRequest(**given)).spec
    assert (own.mean, own.std, own.color_order, own.fit) == ((1.0,) * 3, (2.0,) * 3, "bgr", "letterbox")
    assert caplog.messages == ["'own' says nothing about its input; assuming letterbox; give `fit` where that is wrong"]
    caplog.clear()
    everything = load_model(path, ModelRequest(**given, fit="stretch")).spec
    assert (everything.fit, everything.resize) == ("stretch", "area")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("start", "feeding", "said"),
    [
        (layers.Rescaling(1 / 255), MIDDLE, "its 'first' gets -0.00392 to 0.00392"),
        (layers.Rescaling(1 / 255), ((0.0,) * 3, (255.0,) * 3), "its 'first' gets 0 to 0.00392"),
        (keras.applications.resnet.preprocess_input, MIDDLE, "its 'first' gets -125 to -103"),
        (statistics(255), MIDDLE, "its 'first' gets -2.52 to -2.48"),
        (Block(1 / 127.5), MIDDLE, "its 'inner' gets -1.01 to -0.992"),
        (layers.Activation("relu"), ((0.0,) * 3, (9000.0,) * 3), "they are scaled too much. Give another `mean`"),
        # Fed right, or as the user wants it:
        (layers.Rescaling(1 / 255), RAW, ""),
        (keras.applications.resnet.preprocess_input, RAW, ""),
        (layers.Activation("relu"), MIDDLE, ""),
        (layers.Activation("relu"), RAW, ""),
        (lambda x: x + keras.ops.mean(x, (1, 2), keepdims=True) / 255, MIDDLE, ""),
    ],
)
def test_pixels_that_are_scaled_twice_are_a_warning(
    start: Any, feeding: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    mean, std = feeding
    model = ending_in_a_map(start)
    spec = assumed_spec("own", SIZE, 3, given={"mean": mean, "std": std, "color_order": "rgb", "fit": "letterbox"})
    caplog.clear()
    assert warn_of_faint_images(model, spec) == bool(said)
    assert len(caplog.messages) == bool(said)
    if said:
        assert said in caplog.text and "can hardly see its images" in caplog.text
        assert ("`mean=(0, 0, 0), std=(1, 1, 1)`" in caplog.text) == ("too much" not in said)


def test_a_zoo_model_is_known_by_more_than_its_name() -> None:
    mini = create("unet_mini", num_classes=5, input_size=SIZE)
    assert zoo_model_of(mini) is ZOO["unet_mini"]
    # Not the object that was made any more, but its layers, as read from a file.
    softmax = keras.Model(mini.input, layers.Softmax()(mini.output), name="unet_mini")
    assert zoo_model_of(softmax) is ZOO["unet_mini"]
    options = create("resnet50_segnet", num_classes=3, input_size=(32, 32), encoder_level=2, n_up=2)
    assert zoo_model_of(options) is ZOO["resnet50_segnet"]
    own = ending_in_a_map(layers.Activation("relu"), name="segnet")
    assert zoo_model_of(own) is None
    assert at_input_size(own, (20, 24)).input_shape == (None, 20, 24, 3)  # SegNet's own is a multiple of 32
