from __future__ import annotations

import keras
import numpy as np
import pytest

from edgeseg.models.encoders.first_convolution import fold_pixels
from edgeseg.models.encoders.published import CAFFE, FROM_MINUS_1, Pixels
from edgeseg.spec import ModelSpec, default_class_names, default_palette

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3)).astype(np.float32)  # RGB
TORCH = Pixels(order="rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def spec_of(order: str, mean: tuple[float, ...], std: tuple[float, ...]) -> ModelSpec:
    return ModelSpec(
        name="m",
        input_size=(12, 12),
        class_names=default_class_names(2),
        palette=default_palette(2),
        mean=mean,  # type: ignore[arg-type]
        std=std,  # type: ignore[arg-type]
        color_order=order,  # type: ignore[arg-type]
    )


def fed(order: str, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    image = IMAGE if order == "rgb" else IMAGE[..., ::-1]
    return ((image - np.array(mean)) / np.array(std)).astype(np.float32)


def encoder(*, bias: bool) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(5, 3, padding="same", use_bias=bias, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="then")(x))
    model.get_layer("then").moving_mean.assign(np.linspace(-1, 1, 5))
    return model


@pytest.mark.parametrize("pixels", [CAFFE, FROM_MINUS_1, TORCH], ids=["caffe", "minus 1 to 1", "torch"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("bias", [True, False])
def test_what_it_computed_is_computed_from_the_models_pixels(pixels: Pixels, order: str, bias: bool) -> None:
    model = encoder(bias=bias)
    before = model.predict_on_batch(fed(pixels.order, pixels.mean, pixels.std))
    mean, std = (10.0, 20.0, 30.0), (255.0, 100.0, 64.0)
    assert fold_pixels(model.get_layer("first"), model.get_layer("then"), pixels, spec_of(order, mean, std))
    after = model.predict_on_batch(fed(order, mean, std))
    # float32 products of pixels up to 255 with weights up to 0.3, 27 of them: 1e-6 of their sum.
    inside = np.s_[:, 1:-1, 1:-1]
    np.testing.assert_allclose(after[inside], before[inside], atol=1e-5 * np.abs(before).max())
    assert not np.allclose(after[:, 0], before[:, 0], atol=1e-3 * np.abs(before).max())  # the border is another gray


def test_the_same_pixels_change_nothing() -> None:
    model = encoder(bias=True)
    before = np.array(model.get_layer("first").kernel)
    spec = spec_of("rgb", FROM_MINUS_1.mean, FROM_MINUS_1.std)
    assert not fold_pixels(model.get_layer("first"), model.get_layer("then"), FROM_MINUS_1, spec)
    np.testing.assert_array_equal(before, model.get_layer("first").kernel)
