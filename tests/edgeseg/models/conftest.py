"""What every family of the zoo has to do, whatever it looks like inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.models.keras_file import load_model, read_spec, save_model
from edgeseg.spec import ModelSpec, default_class_names, default_palette

Check = Callable[[keras.Model], None]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture
def assert_gives_logits() -> Check:
    """The output has the input's size, is finite, and is no probability."""

    def check(model: keras.Model) -> None:
        logits = keras.ops.convert_to_numpy(model(_images(model), training=False))
        assert logits.shape[1:3] == model.input_shape[1:3]
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()
        assert (logits < 0).any()

    return check


@pytest.fixture
def assert_learns() -> Check:
    """One step of plain gradient descent lowers the loss of the batch it was taken on."""

    def check(model: keras.Model) -> None:
        images = _images(model)
        labels = (images[..., 0] > 0).astype(np.int32)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        # Eager: one step each is over before a graph of this many layers would be traced.
        model.compile(keras.optimizers.SGD(0.05), loss, run_eagerly=True)
        before, after = (float(model.train_on_batch(images, labels)) for _ in range(2))
        assert after < before

    return check


@pytest.fixture
def assert_round_trip(tmp_path: Path) -> Check:
    """A saved model comes back with its spec, its layer names and the same bits in its output."""

    def check(model: keras.Model) -> None:
        classes = model.output_shape[-1]
        spec = ModelSpec(
            name=model.name,
            input_size=model.input_shape[1:3],
            class_names=default_class_names(classes),
            palette=default_palette(classes),
        )
        save_model(model, tmp_path / "model.keras", spec)
        loaded = load_model(tmp_path / "model.keras")
        assert read_spec(tmp_path / "model.keras") == spec
        assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
        images = _images(model)
        expected, actual = (keras.ops.convert_to_numpy(m(images, training=False)) for m in (model, loaded))
        np.testing.assert_array_equal(actual, expected)

    return check


@pytest.fixture
def assert_resizes_aligned() -> Callable[[keras.Model, str], None]:
    """The output is the named layer's, resized so that corner pixels stay: row 1 is at source row (h - 1) / (H - 1)."""

    def check(model: keras.Model, layer: str) -> None:
        both = keras.Model(model.input, [model.get_layer(layer).output, model.output])
        small, large = (keras.ops.convert_to_numpy(y) for y in both(_images(model), training=False))
        weight = (small.shape[1] - 1) / (large.shape[1] - 1)
        np.testing.assert_array_equal(large[:, -1, -1], small[:, -1, -1])
        # Rounding only: with pixels as areas row 1 would be row 0 of the source.
        expected = (1 - weight) * small[:, 0, 0] + weight * small[:, 1, 0]
        np.testing.assert_allclose(large[:, 1, 0], expected, rtol=1e-5, atol=1e-6)

    return check


def _images(model: keras.Model) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
