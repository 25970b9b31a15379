from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.training.objective.batch_norm import recalibrate, set_momentum, training_mode


@pytest.fixture
def model() -> keras.Model:
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Dropout(0.5)(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(x))


class Block(keras.layers.Layer):  # type: ignore[misc]
    """A layer of layers, as the spatial pyramid pooling of KerasHub's DeepLab."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop = keras.layers.Dropout(0.5)
        self.norm = keras.layers.BatchNormalization()

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.norm(self.drop(x, training=training), training=training)


BATCHES = np.random.default_rng(0).normal(3.0, 2.0, (3, 5, 4, 4, 2)).astype(np.float32)


def test_recalibrated_statistics_are_the_means_over_the_batches(model: keras.Model) -> None:
    set_momentum(model, 0.7)
    recalibrate(model, BATCHES)
    norm = model.get_layer("norm")
    # Summed in another order, and not through dropout.
    np.testing.assert_allclose(norm.moving_mean, BATCHES.mean((1, 2, 3)).mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, BATCHES.var((1, 2, 3)).mean(0), rtol=1e-5)
    assert norm.momentum == 0.7
    assert model.layers[1].rate == 0.5


def test_batch_norms_inside_other_layers_are_reached() -> None:
    inputs = keras.Input((4, 4, 2))
    block, frozen = Block(), Block()
    model = keras.Model(inputs, frozen(block(inputs)))
    frozen.trainable = False
    before = frozen.norm.get_weights()
    set_momentum(model, 0.7)
    recalibrate(model, BATCHES)
    np.testing.assert_allclose(block.norm.moving_mean, BATCHES.mean((1, 2, 3)).mean(0), rtol=1e-5)
    np.testing.assert_array_equal(frozen.norm.get_weights(), before)
    assert (block.norm.momentum, frozen.norm.momentum, block.drop.rate) == (0.7, 0.7, 0.5)


def test_training_mode_leaves_the_statistics(model: keras.Model) -> None:
    before = model.get_weights()
    outputs = training_mode(model, BATCHES[0])
    np.testing.assert_allclose(np.mean(outputs, (0, 1, 2)), 0, atol=1e-5)  # with the batch's own mean
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_frozen_batch_norm_stays_in_inference_mode(model: keras.Model) -> None:
    model.get_layer("norm").trainable = False
    before = model.get_weights()
    np.testing.assert_array_equal(training_mode(model, BATCHES[0]), model(BATCHES[0], training=False))
    model(BATCHES[0], training=True)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_what_is_frozen_in_the_model_that_learns_keeps_its_statistics(model: keras.Model) -> None:
    learning = keras.models.clone_model(model)
    learning.get_layer("norm").trainable = False
    before = model.get_weights()
    recalibrate(model, BATCHES, like=learning)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model.get_layer("norm").trainable
    recalibrate(model, BATCHES, like=model)
    assert abs(model.get_layer("norm").moving_mean.numpy() - 3).max() < 0.5  # the batches' mean is 3
