from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="a device has no keras")

from edgeseg.models.keras_files.class_metrics import class_names_of, compile_class_metrics  # noqa: E402
from edgeseg.spec import ModelSpec, default_palette  # noqa: E402

NAMES = ("sky", "traffic light", "Straße/é")


def model_of(channels: int) -> keras.Model:
    image = keras.Input((16, 16, 3))
    return keras.Model(image, keras.layers.Conv2D(channels, 1)(image))


def spec_of(names: tuple[str, ...]) -> ModelSpec:
    palette = default_palette(len(names))
    return ModelSpec(name="m", input_size=(16, 16), class_names=names, palette=palette, ignore_index=255)


@pytest.mark.parametrize(("channels", "names"), [(3, NAMES), (1, ("background", "nucleus"))])
def test_names_survive_keras_own_loader(channels: int, names: tuple[str, ...], tmp_path: Path) -> None:
    model = model_of(channels)
    compile_class_metrics(model, spec_of(names))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert class_names_of(loaded, len(names)) == names
    # a second save by Keras keeps them
    loaded.save(tmp_path / "again.keras")
    assert class_names_of(keras.models.load_model(tmp_path / "again.keras"), len(names)) == names
    assert class_names_of(keras.models.load_model(tmp_path / "m.keras", compile=False), len(names)) is None


def test_the_metrics_are_the_iou_of_each_class() -> None:
    model = model_of(3)
    compile_class_metrics(model, spec_of(NAMES))
    labels = np.random.default_rng(0).integers(0, 3, (2, 16, 16))
    images = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
    predicted = model.predict(images, verbose=0).argmax(-1)
    scores = model.evaluate(images, labels, verbose=0, return_dict=True)
    for index, name in enumerate(NAMES):
        either = ((labels == index) | (predicted == index)).sum()
        # both are ratios of the same counts; Keras divides in float32
        assert scores[name] == pytest.approx(((labels == index) & (predicted == index)).sum() / either, abs=1e-6)


def test_a_compiled_model_stays_as_it_is() -> None:
    model = model_of(3)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    compile_class_metrics(model, spec_of(NAMES))
    assert type(model.optimizer).__name__ == "Adam"
    assert class_names_of(model, 3) is None


@pytest.mark.parametrize(
    "metrics",
    [
        [keras.metrics.IoU(3, [0], name="a"), keras.metrics.IoU(3, [1], name="b")],  # one class has none
        [keras.metrics.IoU(3, [0, 1, 2], name="all")],
        [keras.metrics.IoU(4, [index], name=f"n{index}") for index in range(4)],  # of another model
        [lambda y, p: 0.0],
        None,
    ],
    ids=["too few", "one of all", "too many", "a function", "none"],
)
def test_other_metrics_name_nothing(metrics: list[object] | None) -> None:
    model = model_of(3)
    model.compile(metrics=metrics)
    assert class_names_of(model, 3) is None
