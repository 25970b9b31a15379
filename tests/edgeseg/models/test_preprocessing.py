"""What a model without a spec is taken to be fed with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from edgeseg.datasets import Classes
from edgeseg.models import create
from edgeseg.models.opening import ModelRequest, at_input_size, open_model
from edgeseg.models.preprocessing import takes_pixels, zoo_model_of
from edgeseg.models.zoo.table import ZOO
from edgeseg.spec import default_palette
from edgeseg.training.building import build_models
from edgeseg.training.config import TrainConfig

SIZE = (16, 16)
RAW, MIDDLE = ((0.0,) * 3, (1.0,) * 3), ((127.5,) * 3, (127.5,) * 3)


def ending_in_a_map(start: Callable[[Any], Any], dtype: str = "float32", name: str = "own") -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3), dtype=dtype)
    return keras.Model(inputs, layers.Conv2D(3, 1)(start(inputs)), name=name)


def nested(x: Any) -> Any:
    """As a backbone of keras.applications has it, behind a cast and augmentations."""
    inner = keras.Input((*SIZE, 3))
    stem = keras.Model(inner, layers.Rescaling(1 / 127.5, offset=-1, name="to_one")(inner))
    return stem(keras.Sequential([layers.RandomFlip()])(keras.ops.cast(x, "float32")))


def beside(x: Any) -> Any:
    """The image is read by another layer too."""
    return layers.Concatenate()([layers.Rescaling(1 / 255, name="to_one")(x), x])


def statistics(scale: float) -> Callable[[Any], Any]:
    return layers.Normalization(mean=[0.5 * scale] * 3, variance=[(0.2 * scale) ** 2] * 3, name="normal")


@pytest.mark.parametrize(
    ("start", "dtype", "reason"),
    [
        (layers.Rescaling(1 / 255, name="to_one"), "uint8", "takes uint8"),
        (lambda x: keras.ops.cast(x, "float32") / 255, "int32", "takes int32"),
        (layers.Rescaling(1 / 255, name="to_one"), "float32", "begins with a Rescaling ('to_one')"),
        (nested, "float32", "begins with a Rescaling ('to_one')"),
        (beside, "float32", "begins with a Rescaling ('to_one')"),
        (statistics(255), "float32", "begins with a Normalization ('normal')"),
        (keras.applications.resnet.preprocess_input, "float32", "begins with arithmetic on pixels ('add')"),
        (
            keras.applications.mobilenet_v2.preprocess_input,
            "float32",
            "begins with arithmetic on pixels ('true_divide')",
        ),
        (lambda x: 1 / 127.5 * x - 1, "float32", "begins with arithmetic on pixels ('multiply')"),
        (lambda x: (x - 0.5) * 2, "float32", ""),
        (lambda x: x / x, "float32", ""),
        (lambda x: 300 / x, "float32", ""),
        # Made for pixels that are in [0, 1] or in [-1, 1] already, or for nothing of the kind:
        (statistics(1), "float32", ""),
        (layers.Rescaling(0.5, offset=0.5), "float32", ""),
        (layers.Normalization(), "float32", ""),
        (layers.Activation("relu"), "float32", ""),
        (lambda x: layers.Rescaling(1 / 255)(layers.Activation("relu")(x)), "float32", ""),
    ],
)
def test_what_takes_pixels_as_they_are(start: Any, dtype: str, reason: str) -> None:
    keras.backend.clear_session()  # the numbers in automatic names
    assert takes_pixels(ending_in_a_map(start, dtype)) == reason


@pytest.mark.parametrize(("start", "feeding"), [(statistics(255), RAW), (layers.Activation("relu"), MIDDLE)])
def test_a_file_is_fed_as_its_first_layer_says_and_that_is_one_line(
    start: Any, feeding: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "own.keras"
    ending_in_a_map(start).save(path)
    with caplog.at_level(logging.WARNING):
        opened = [
            open_model(str(path)).spec,
            build_models(
                TrainConfig(model=str(path), data="data"),
                Classes(names=("a", "b", "c"), palette=default_palette(3), ignore_index=255),
            ).spec,
        ]
    assert [(spec.mean, spec.std) for spec in opened] == [feeding, feeding]
    for said in caplog.messages:
        assert said.endswith("give --mean and --std, in Python a spec, where that is wrong")
        assert ("begins with a Normalization ('normal'); assuming" in said) == (feeding is RAW)
    assert len(caplog.messages) == 2
    own = open_model(str(path), ModelRequest(mean=(1.0,) * 3, std=(2.0,) * 3)).spec
    assert (own.mean, own.std) == ((1.0,) * 3, (2.0,) * 3)


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
