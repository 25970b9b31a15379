"""What every family of the zoo must pass, as fixtures: a family's own file says which sizes and which options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same initial weights in every run."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def assert_learns() -> Callable[[keras.Model], None]:
    """One plain gradient step lowers the loss by what the gradient says."""

    def check(model: keras.Model) -> None:
        rng = np.random.default_rng(0)
        images = rng.uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
        labels = rng.integers(0, model.output_shape[-1], (2, *model.output_shape[1:-1]))
        loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        keras.utils.set_random_seed(0)
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(images, training=True))
        variables = [weight.value for weight in model.trainable_weights]
        gradients = tape.gradient(loss, variables)
        without = [
            weight.path for weight, gradient in zip(model.trainable_weights, gradients, strict=True) if gradient is None
        ]
        assert not without, f"no gradient reaches {without}"
        squared_norm = sum(float(tf.reduce_sum(gradient**2)) for gradient in gradients)
        assert np.isfinite(squared_norm)
        step = 1e-3 * float(loss) / squared_norm  # by the first-order rule, the loss falls by a thousandth
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(step * gradient)

        keras.utils.set_random_seed(0)  # the same dropout masks
        fallen = float(loss) - float(loss_of(labels, model(images, training=True)))
        # Curvature and the kinks of ReLU take some of it; a wrong gradient would not come near.
        assert 0.5e-3 < fallen / float(loss) < 1.5e-3

    return check


@pytest.fixture
def assert_round_trips(tmp_path: Path) -> Callable[[keras.Model], None]:
    """A model with weights and statistics unlike those of a new one comes back from its file bit by bit."""

    def check(model: keras.Model) -> None:
        rng = np.random.default_rng(1)
        for weight in model.weights:
            if len(weight.shape) == 1:  # biases, scales, shifts and statistics, which start as zeros and ones
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        images = rng.uniform(-1, 1, (1, *model.input_shape[1:])).astype(np.float32)
        path = tmp_path / "model.keras"
        model.save(path)
        loaded = keras.models.load_model(path, safe_mode=True)
        path.unlink()  # up to 180 MB
        assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
        np.testing.assert_array_equal(predict(loaded, images), predict(model, images))

    return check


@pytest.fixture
def assert_batch_is_its_images() -> Callable[[keras.Model], None]:
    """Every image of a batch gives what it gives alone."""

    def check(model: keras.Model) -> None:
        images = np.random.default_rng(2).uniform(-1, 1, (3, *model.input_shape[1:])).astype(np.float32)
        alone = np.concatenate([predict(model, image[None]) for image in images])
        together = predict(model, images)
        assert together.shape == (3, *model.output_shape[1:]) and together.dtype == np.float32
        # Another batch size makes the convolutions sum in another order.
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4 * np.abs(alone).max())

    return check


@pytest.fixture
def assert_resizes_aligned() -> Callable[[keras.Model, str], None]:
    """The output is the named layer's, resized so that corner pixels stay: row 1 is at source row (h - 1) / (H - 1)."""

    def check(model: keras.Model, layer: str) -> None:
        both = keras.Model(model.input, [model.get_layer(layer).output, model.output])
        images = np.random.default_rng(3).uniform(-1, 1, (1, *model.input_shape[1:])).astype(np.float32)
        small, large = (keras.ops.convert_to_numpy(y) for y in both(images, training=False))
        weight = (small.shape[1] - 1) / (large.shape[1] - 1)
        np.testing.assert_array_equal(large[:, -1, -1], small[:, -1, -1])
        # Rounding only: with pixels as areas row 1 would be row 0 of the source.
        expected = (1 - weight) * small[:, 0, 0] + weight * small[:, 1, 0]
        np.testing.assert_allclose(large[:, 1, 0], expected, rtol=1e-5, atol=1e-6)

    return check


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))
