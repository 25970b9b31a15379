"""Images of another kind are told by what batch normalization remembers of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from edgeseg.models.zoo.table import ZOO
from edgeseg_converters.calibration import CalibrationSet, choose
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.graph import Graph
from edgeseg_converters.quantization.domain_shift import MAX_FACTOR, Domain, compare

SIZE = (64, 64)
SPEC = ZOO["unet_mini"].default_spec(3, SIZE)


def natural(seed: int) -> NDArray[np.uint8]:
    return natural_noise(seed, SIZE)


def faint_pixels(seed: int) -> NDArray[np.uint8]:
    """Gray, with a grain that no image of training had: nothing for a filter that looks for shapes."""
    return np.random.default_rng(seed).integers(124, 133, (*SIZE, 3)).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Callable[[Callable[[int], NDArray[np.uint8]]], CalibrationSet]:
    def write(make: Callable[[int], NDArray[np.uint8]]) -> CalibrationSet:
        for seed in range(100, 108):
            cv2.imwrite(str(tmp_path / f"{seed}.png"), make(seed))
        return choose(tmp_path)

    return write


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = x = keras.Input((*SIZE, 3))
    for filters in (8, 8, 8):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.0)(x))
    return keras.Model(image, layers.Conv2D(3, 1)(x))


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """A model whose batch normalization has seen natural noise, and nothing of the images that are asked about."""
    model = network()
    model(np.stack([natural(seed) for seed in range(16)]) / np.float32(127.5) - 1, training=True)
    return model


@pytest.mark.parametrize(("make", "alike"), [(natural, True), (faint_pixels, False)])
def test_another_kind_is_told(
    make: Callable[[int], NDArray[np.uint8]],
    alike: bool,
    trained: keras.Model,
    images: Callable[[Callable[[int], NDArray[np.uint8]]], CalibrationSet],
) -> None:
    found = compare(Graph.from_model(trained), images(make), SPEC)
    assert found is not None
    assert found.num_layers == 3
    assert found.alike is alike
    assert found.to_dict() == {"variance_factor": found.factor, "num_layers": found.num_layers, "ok": alike}


def test_a_known_variance_gives_a_known_factor(
    images: Callable[[Callable[[int], NDArray[np.uint8]]], CalibrationSet],
) -> None:
    def halves(seed: int) -> NDArray[np.uint8]:
        """Half 0 and half 255: 1 and -1 for the model, a variance of 1."""
        image = np.zeros((*SIZE, 3), np.uint8)
        image[: SIZE[0] // 2] = 255
        return image

    image = keras.Input((*SIZE, 3))
    model = keras.Model(image, layers.Conv2D(2, 1)(layers.BatchNormalization(epsilon=1e-9, name="norm")(image)))
    # Two of three channels by a factor of 4 and 1/4: the mean of the logarithms is two thirds of log 4.
    model.get_layer("norm").moving_variance.assign([4.0, 1.0, 0.25])
    found = compare(Graph.from_model(model), images(halves), SPEC)
    assert found is not None
    assert found.factor == pytest.approx(4 ** (2 / 3), rel=1e-4)


def test_a_model_without_memory_says_nothing(
    images: Callable[[Callable[[int], NDArray[np.uint8]]], CalibrationSet],
) -> None:
    assert (
        compare(Graph.from_model(network()), images(natural), SPEC) is None
    )  # its batch normalization is as it was made


def test_the_limit_belongs_to_the_right_kind() -> None:
    assert Domain(MAX_FACTOR, 1).alike
    assert not Domain(MAX_FACTOR + 0.01, 1).alike
