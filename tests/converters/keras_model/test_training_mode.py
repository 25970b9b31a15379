from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models.opening import assumed_spec
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.images import Samples

SIZE = (8, 12)
SPEC = assumed_spec("own", SIZE, 3)
IMAGES = Samples((np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8),), "white noise")


class AlwaysTraining(layers.Layer):  # type: ignore[misc]
    """Normalizes by what it sees and remembers it, whatever mode it is called in."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()

    def call(self, x: Any) -> Any:
        return self.norm(x, training=True)


def values(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]


def assert_exported_untouched(model: keras.Model) -> tuple[tuple[str, int], ...]:
    """Exported and proven, with the same values in all variables before and after; which rewrites there were."""
    before = values(model)
    (result,) = export_all(model, SPEC, [Recipe("tflite", "fp32")], samples=IMAGES)
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(new, old)
    return result.rewrites.counts()


def test_training_mode_in_the_graph_is_told_of_and_overruled_as_in_predict(caplog: pytest.LogCaptureFixture) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    norm = layers.BatchNormalization(moving_mean_initializer="random_normal", name="norm")
    x = layers.Resizing(*SIZE)(layers.RandomFlip()(inputs))  # by default in training mode: nobody asked for it
    x = layers.Conv2D(3, 1)(layers.UpSampling2D(2)(layers.Conv2D(4, 3, padding="same")(x)))
    model = keras.Model(inputs, layers.Dropout(0.5, name="drop")(norm(x, training=True), training=True))
    # The norm is folded, by a proof that ran it in inference mode.
    assert ("PointwiseBeforeResize", 1) in assert_exported_untouched(model)
    assert any(said.startswith("'norm', 'drop': called with training=True") for said in caplog.messages)


def test_training_mode_in_a_layers_code_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = AlwaysTraining(name="mine")(layers.Conv2D(3, 1)(inputs))
    assert_exported_untouched(keras.Model(inputs, layers.Conv2D(3, 1)(x)))
    assert "runs in training mode, in the artifact too: it wrote 'mine/batch_normalization" in caplog.text
