"""What a run watches, keeps and validates on: metrics, checkpoints, an encoder frozen for good, a share of train."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.datasets import open_split
from edgeseg.datasets.statistics import channel_statistics
from edgeseg.datasets.training_splits import training_splits
from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import load_keras_file, read_spec
from edgeseg.training.config import TrainConfig
from edgeseg.training.data.pipeline import validation_batches
from edgeseg.training.fit import TrainResult, train
from edgeseg.training.objective.metrics import FScore
from edgeseg.training.run.checkpoint import RunFiles
from edgeseg.training.run.epoch_end import EarlyStopping
from edgeseg.training.run.options import RunOptions

WATCHED: dict[str, Any] = {
    "epochs": 4, "freeze_epochs": "all", "freeze_before": "scores", "val_fraction": 0.3, "mean": "data", "std": "data",
    "schedule": "exponential", "decay_rate": 0.5, "learning_rate": 0.02, "warmup_epochs": 2, "warmup": "staircase",
    "augmentation": "jitter",
}  # fmt: skip


def tiny() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 48, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="encoder")(inputs)
    x = keras.layers.BatchNormalization(name="encoder_bn")(x)
    return keras.Model(inputs, keras.layers.Conv2D(3, 1, name="scores")(x), name="tiny")


def quiet(line: str) -> None:
    """Swallow the epoch lines."""


def config(data: Path, **changes: Any) -> TrainConfig:
    settings = {"epochs": 2, "warmup_epochs": 0, "batch_size": 3, "class_weights": "none", **changes}
    return TrainConfig(model="tiny", data=str(data), **settings)


@pytest.fixture(scope="module")
def train_alone(shapes_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shapes without ``val`` and ``test``."""
    target = tmp_path_factory.mktemp("alone") / "data"
    return Path(shutil.copytree(shapes_dataset, target, ignore=shutil.ignore_patterns("val", "test")))


@pytest.fixture(scope="module")
def watched(train_alone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[str]]:
    """A run of four epochs with everything on, and its lines."""
    lines: list[str] = []
    settings = config(train_alone, **WATCHED)
    options = RunOptions(metrics=("f-score", FScore(3, threshold=None, name="best_f")), save_every=2, log=lines.append)
    return train(settings, tmp_path_factory.mktemp("watched"), options, model=tiny()), lines


def test_the_row_of_an_epoch_has_its_own_learning_rate(watched: tuple[TrainResult, list[str]]) -> None:
    """Not that of the step after it: the rates of the staircase and of the decay, as the tutorials count them."""
    rates = [row["learning_rate"] for row in watched[0].history]
    assert rates == pytest.approx([0.01, 0.02, 0.02, 0.01])


def test_an_encoder_frozen_for_good_is_what_it_was(watched: tuple[TrainResult, list[str]]) -> None:
    first, last = tiny(), load_keras_file(watched[0].exported)
    for name in ("encoder", "encoder_bn"):
        for before, after in zip(first.get_layer(name).weights, last.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(before, after)
    assert (np.asarray(first.get_layer("scores").kernel) != np.asarray(last.get_layer("scores").kernel)).any()


def test_metrics_are_columns_of_training_and_validation(
    watched: tuple[TrainResult, list[str]], train_alone: Path
) -> None:
    """The best file's own score, counted again; and one of a caller, which counted nothing itself."""
    result, _ = watched
    assert {"f_score", "val_f_score", "best_f", "val_best_f"} < result.history[0].keys()
    assert all(0 <= row["f_score"] <= 1 for row in result.history)
    spec, (_, val) = read_spec(result.exported), training_splits(train_alone, val_fraction=0.3)
    assert spec is not None
    assert val is not None
    metric, model = FScore(3), load_keras_file(result.exported)
    for images, labels in validation_batches(val, spec, 2, label_sizes=(32, 48)):
        metric.update_state(labels, model(images))
    assert result.best_epoch is not None
    row = result.history[result.best_epoch - 1]
    assert row["val_f_score"] == pytest.approx(float(metric.result()), rel=1e-5)
    header = (result.exported.parent / "history.csv").read_text().splitlines()[0].split(",")
    assert header == list(result.history[0])


def test_the_names_of_kept_models_say_epoch_and_losses(watched: tuple[TrainResult, list[str]]) -> None:
    folder = watched[0].exported.parent / "checkpoints"
    rows = [watched[0].history[epoch - 1] for epoch in (2, 4)]
    names = [f"ep{row['epoch']:03d}-loss{row['loss']:.3f}-val_loss{row['val_loss']:.3f}.keras" for row in rows]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert read_spec(folder / names[0]) == read_spec(watched[0].exported)


def test_the_model_is_normalized_by_its_own_images(watched: tuple[TrainResult, list[str]], train_alone: Path) -> None:
    """Those it learns from: the validation images are not measured."""
    learned, _ = training_splits(train_alone, val_fraction=0.3)
    statistics, spec = channel_statistics(learned), read_spec(watched[0].exported)
    assert spec is not None
    assert (spec.mean, spec.std) == (statistics.mean, statistics.std)
    assert watched[1][0] == f"of the 7 training images: {statistics.as_settings()}"
    assert statistics != channel_statistics(open_split(train_alone, "train"))
    with pytest.raises(InputError, match=r"mean 'data' is that of config\.data's images, which a feed replaces"):
        train(config(train_alone, mean="data"), train_alone / "run", model=tiny(), feed=lambda models: models)  # type: ignore[arg-type,return-value]


def test_without_validation_the_last_is_kept_and_no_best_is_known(train_alone: Path, tmp_path: Path) -> None:
    settings = config(
        train_alone, validate=False, early_stopping=9, early_stopping_on="loss", batch_norm_recalibration=3
    )
    (tmp_path / "best.keras").write_bytes(b"of another run")
    options = RunOptions(samples=1, metrics=["mean-iou"], overwrite=True, save_every=2, log=quiet)
    result = train(settings, tmp_path, options, model=tiny())
    assert (result.best, result.best_epoch, result.best_mean_iou) == (None, None, None)
    assert result.exported == tmp_path / "final.keras"
    assert not (tmp_path / "best.keras").exists()
    assert not any(name.startswith("val_") for row in result.history for name in row)
    assert 0 <= result.history[1]["mean_iou"] <= 1
    loss = result.history[1]["loss"]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [f"ep002-loss{loss:.3f}.keras"]
    assert len(list((tmp_path / "samples").iterdir())) == 2
    # The exported model is the one that has learned, with its own batch statistics.
    final, last = load_keras_file(result.exported), load_keras_file(tmp_path / "last.keras")
    np.testing.assert_array_equal(final.get_layer("scores").kernel, last.get_layer("scores").kernel)
    with pytest.raises(InputError, match=r"final\.keras' exists; give `overwrite=True`"):
        (tmp_path / "last.keras").unlink()
        train(settings, tmp_path, RunOptions(log=quiet), model=tiny())


def test_a_run_of_an_earlier_edgeseg_goes_on(
    watched: tuple[TrainResult, list[str]], train_alone: Path, tmp_path: Path
) -> None:
    """Its last.keras has none of today's settings, and a preset under its former name; so has what is typed again."""
    run = Path(shutil.copytree(watched[0].exported.parent, tmp_path / "run"))

    again = config(train_alone, **{**WATCHED, "augmentation": "tutorial"})

    def earlier(state: dict[str, Any]) -> None:
        del state["settings"]
        fields = {**dataclasses.asdict(again), "augmentation": "tutorial"}
        state["config"] = {name: fields[name] for name in fields if name not in ("validate", "early_stopping_on")}

    rewrite_state(run / "last.keras", earlier)
    resumed = train(again, run, RunOptions(resume=True, log=quiet), model=tiny())
    assert resumed.history == watched[0].history
    with pytest.raises(InputError, match="early_stopping_on was val_mean_iou, is loss"):
        other = config(train_alone, **WATCHED, early_stopping=9, early_stopping_on="loss")
        train(other, run, RunOptions(resume=True, log=quiet), model=tiny())


def test_a_resumed_run_may_watch_other_metrics(tmp_path: Path) -> None:
    row = {"epoch": 1, "loss": 0.5, "learning_rate": 0.1}
    RunFiles(tmp_path).save_history([row, {**row, "epoch": 2, "f_score": 0.25}])
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines == ["epoch,loss,learning_rate,f_score", "1,0.5,0.1,", "2,0.5,0.1,0.25"]


def rewrite_state(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the training state in a ``.keras`` file."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name, content in entries.items() if content.startswith(b'{"settings": '))
    state = json.loads(entries[name])
    change(state)
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in {**entries, name: json.dumps(state).encode()}.items():
            archive.writestr(entry, content)


@pytest.mark.parametrize(
    ("column", "values", "stops"),
    [
        ("loss", [1.0, 0.5, 0.6, 0.7], True),
        ("val_loss", [1.0, 0.9, 0.8, 0.7], False),
        ("val_loss", [1.0, 1.1, 1.2], True),
        ("val_mean_iou", [0.1, 0.2, 0.3], False),
        ("val_mean_iou", [0.3, 0.2, 0.1], True),
    ],
)
def test_early_stopping_knows_what_is_better(column: Any, values: list[float], stops: bool) -> None:
    """A loss falls, a score rises; of epochs before a resume, as of any."""
    model = keras.Sequential([keras.layers.Dense(1)])
    stopping = EarlyStopping(column, 2, [{"epoch": epoch, column: value} for epoch, value in enumerate(values, 1)], 0)
    stopping.set_model(model)
    model.stop_training = False
    stopping.on_train_begin()
    assert model.stop_training == stops


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metrics": ["f_score"]},
            "metric 'f_score' is none of f-score, pixel-accuracy, mean-iou. Did you mean 'f-score'",
        ),
        ({"metrics": {"main": ["iou"]}}, "metric 'iou' is none of"),
        ({"save_every": 0}, "save_every must be 1 or more epochs, got 0"),
    ],
)
def test_what_cannot_be_watched_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        RunOptions(**options).check(tmp_path)


def test_a_metric_that_cannot_be_made_again_is_refused(train_alone: Path, tmp_path: Path) -> None:
    class Own(keras.metrics.Mean):  # type: ignore[misc]
        def __init__(self, needed: int) -> None:
            super().__init__(name="own")

    options = RunOptions(metrics=[Own(3)], log=quiet)
    with pytest.raises(InputError, match="the metric 'own' cannot be made from its get_config"):
        train(config(train_alone, validate=False), tmp_path, options, model=tiny())
