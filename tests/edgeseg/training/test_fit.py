"""``edgeseg.training``, ``feed``, ``run.checkpoint``, ``run.epoch_end``, ``run.folder`` and
``run.validation``: runs of a few steps: what is written, resumed and stopped.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg._internal.files import writing_folder
from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.models.keras_files.load import load_keras_file, read_spec
from edgeseg.spec import ModelSpec, default_palette
from edgeseg.training import fit
from edgeseg.training.config import TrainConfig
from edgeseg.training.fit import train
from edgeseg.training.run.options import RunOptions


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with what a resume must bring back: batch norm and dropout; it ends in a softmax, at half size."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 48, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="encoder")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="encoder_bn")(x))
    x = keras.layers.Dropout(0.2)(x)
    scores = keras.layers.Conv2D(3, 2, strides=2, activation="softmax", name="scores")(x)
    path = tmp_path_factory.mktemp("tiny") / "tiny.keras"
    keras.Model(inputs, scores, name="tiny").save(path)
    return path


def config(model: Path | str, data: Path, **changes: Any) -> TrainConfig:
    settings = {"epochs": 2, "warmup_epochs": 1, "batch_size": 5, "learning_rate": 0.02, **changes}
    return TrainConfig(model=str(model), data=str(data), **settings)


def quiet(line: str) -> None:
    """Swallow the epoch lines."""


def test_it_learns_and_best_is_ready_for_export(shapes_dataset: Path, tmp_path: Path) -> None:
    settings = {"input_size": (32, 48), "epochs": 12, "learning_rate": 5e-3}
    result = train(
        config("unet_mini", shapes_dataset, **settings), tmp_path, RunOptions(samples=2, tensorboard=True, log=quiet)
    )
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < losses[0]
    # Three colors, three classes: far above what guessing the commonest class gives.
    assert result.best_mean_iou > 0.5
    spec = read_spec(result.best)
    assert spec is not None
    assert spec.input_size == (32, 48)
    assert load_keras_file(result.best).input_shape == (None, 32, 48, 3)
    assert (tmp_path / "history.csv").read_text().count("\n") == 13
    assert (tmp_path / "curves.png").stat().st_size > 0
    assert len(list((tmp_path / "samples").iterdir())) == 12
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"train", "validation"}


def test_a_run_that_was_killed_in_an_epoch_ends_as_if_it_had_not_been(
    tiny: Path, shapes_dataset: Path, tmp_path: Path, run_until_killed: Callable[[Path, Path, int], None]
) -> None:
    """In the second phase, with a moving average, dropout, gradient clipping and a loss that is no default."""
    settings = config(
        tiny, shapes_dataset, epochs=5, freeze_epochs=2, freeze_batch_size=2, freeze_before="scores", ema=0.8,
        clipnorm=1.0, optimizer="sgd", loss="focal+dice", class_weights="median-frequency", augmentation="tutorial",
    )  # fmt: skip
    whole = train(settings, tmp_path / "whole", RunOptions(log=quiet))

    run_until_killed(tmp_path / "whole" / "train.toml", tmp_path / "cut", 3)
    resumed = train(settings, tmp_path / "cut", RunOptions(resume=True, log=quiet))

    for row, unbroken in zip(resumed.history, whole.history, strict=True):
        assert without_time(row) == without_time(unbroken)
    for ours, theirs in zip(load_keras_file(resumed.best).weights, load_keras_file(whole.best).weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_that_another_process_writes_is_refused(tiny: Path, shapes_dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    said = f"'{folder}' is being written by process {os.getpid()} on "
    with writing_folder(folder), pytest.raises(InputError, match=re.escape(said)):
        train(config(tiny, shapes_dataset), folder, RunOptions(log=quiet))
    assert not folder.exists() or list(folder.iterdir()) == []


def without_time(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


class TwoInputs:
    """An image and a hint of what it shows; the labels of one batch, of every epoch."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        images = rng.normal(size=(4, 16, 16, 3)).astype(np.float32)
        labels = (images[..., 0] > 0).astype(np.uint8)
        labels[:, :2] = 255
        self.inputs = {"image": images, "hint": images[..., :1]}
        self.labels = {"main": labels, "half": labels[:, ::2, ::2]}

    def training(self, batch_size: int, start_epoch: int) -> tuple[Any, int]:
        return (batch for batch in itertools.repeat((self.inputs, self.labels))), 3

    def validation(self) -> Any:
        return [(self.inputs, self.labels["main"])]

    def statistics(self, count: int) -> Any:
        return [self.inputs]


def agreement(labels: Any, logits: Any) -> Any:
    """A metric of the caller's own, which knows nothing of ignored pixels."""
    return keras.ops.equal(keras.ops.cast(labels, "int32"), keras.ops.cast(keras.ops.argmax(logits, -1), "int32"))


def two_outputs() -> keras.Model:
    keras.utils.set_random_seed(0)
    image, hint = keras.Input((16, 16, 3), name="image"), keras.Input((16, 16, 1), name="hint")
    x = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.Concatenate()([image, hint]))
    x = keras.layers.BatchNormalization()(x)
    half = keras.layers.Conv2D(2, 2, strides=2, name="half")(x)
    return keras.Model(
        {"image": image, "hint": hint}, {"half": half, "main": keras.layers.Conv2D(2, 1, name="main")(x)}
    )


def test_a_model_of_ones_own_with_two_inputs_and_deep_supervision(tmp_path: Path) -> None:
    """In bfloat16, until it has learned nothing for two epochs; its best file has the main output alone, in float32."""
    model = two_outputs()
    model.compile(metrics={"main": "categorical_accuracy"})  # not of a run: its labels are ids
    settings = config(
        "two", tmp_path, main_output="main", output_weights=(0.4, 1.0), batch_norm_recalibration=4, learning_rate=1e-9,
        mixed_precision="bfloat16", early_stopping=2, epochs=9, class_weights=(1.0, 2.0),
    )  # fmt: skip
    spec = ModelSpec(name="two", input_size=(16, 16), class_names=("no", "yes"), palette=default_palette(2))
    more = {"model": model, "spec": spec, "feed": lambda models: TwoInputs()}
    watched = {"main": ["f-score", agreement], "half": ["pixel-accuracy"]}
    result = train(settings, tmp_path / "run", RunOptions(log=quiet, metrics=watched), **more)
    assert len(result.history) == 3
    assert train(settings, tmp_path / "run", RunOptions(resume=True, log=quiet), **more).history == result.history
    first = result.history[0]
    assert first["loss"] == pytest.approx(0.4 * first["half_loss"] + first["main_loss"], rel=1e-3)
    # In training Keras puts the output's name before a metric's; the main output alone is validated.
    assert {"main_f_score", "main_agreement", "half_pixel_accuracy", "val_f_score", "val_agreement"} < first.keys()
    assert first["val_agreement"] == pytest.approx(first["val_pixel_accuracy"] * 7 / 8)  # where ignored pixels count
    with pytest.raises(InputError, match="metrics are given for the output 'third'; the model has half, main"):
        train(settings, tmp_path / "other", RunOptions(log=quiet, metrics={"third": ["f-score"]}), **more)

    best = load_keras_file(result.best)
    assert [tensor.shape for tensor in best.outputs] == [(None, 16, 16, 2)]
    feed = TwoInputs()
    scores = keras.ops.convert_to_numpy(best(feed.inputs))
    matrix = ConfusionMatrix(2, 255)
    matrix.update(feed.labels["main"], scores.argmax(-1))
    # What was measured is what was saved: the model in inference mode.
    assert matrix.mean_iou == pytest.approx(result.best_mean_iou)


def test_resume_with_other_settings_is_refused(tiny: Path, shapes_dataset: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "warmup_epochs": 0}
    train(config(tiny, shapes_dataset, **settings), tmp_path, RunOptions(log=quiet))
    with pytest.raises(InputError, match=r"is of another run \(seed was 0, is 5\)"):
        train(config(tiny, shapes_dataset, seed=5, **settings), tmp_path, RunOptions(resume=True, log=quiet))


def test_nothing_to_resume_and_nothing_overwritten(tiny: Path, shapes_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing to resume"):
        train(config(tiny, shapes_dataset), tmp_path, RunOptions(resume=True, log=quiet))
    (tmp_path / "last.keras").write_bytes(b"an earlier run")
    with pytest.raises(InputError, match="exists; give `overwrite=True`"):
        train(config(tiny, shapes_dataset), tmp_path, RunOptions(log=quiet))


def test_a_resumed_run_has_its_table_and_curves_again(tiny: Path, shapes_dataset: Path, tmp_path: Path) -> None:
    """A kill between ``last.keras`` and them, in the last epoch, leaves a run that is complete but for them."""
    settings = config(tiny, shapes_dataset, epochs=1, warmup_epochs=0)
    train(settings, tmp_path, RunOptions(log=quiet))
    names = ("history.csv", "curves.png")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    train(settings, tmp_path, RunOptions(resume=True, log=quiet))
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


def test_batch_larger_than_the_split_is_refused(tiny: Path, shapes_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer than the batch size 99"):
        train(config(tiny, shapes_dataset, batch_size=99), tmp_path, RunOptions(log=quiet))


def test_jax_without_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises where TensorFlow gives an empty list."""

    def list_devices(kind: str) -> list[str]:
        raise RuntimeError(
            f"Unknown backend: '{kind}' requested, but no platforms that are instances of it are present."
        )

    monkeypatch.setattr(keras.distribution, "list_devices", list_devices)
    assert not fit._has_gpu()
