"""What a run says instead of a traceback, and before the first step wherever it can be known by then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.datasets import BadExample
from edgeseg.errors import EdgesegError, InputError
from edgeseg.training.config import TrainConfig
from edgeseg.training.fit import train
from edgeseg.training.objective.losses import SegmentationLoss
from edgeseg.training.run.options import RunOptions


class _NoStep(keras.callbacks.Callback):
    """Nothing may be learned before the refusal."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        raise AssertionError("a step was taken")


class _Killed(keras.callbacks.Callback):
    """As Ctrl-C in the first epoch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        raise KeyboardInterrupt


def config(data: Path, **changes: Any) -> TrainConfig:
    settings = {"epochs": 1, "warmup_epochs": 0, "batch_size": 5, "class_weights": "none", **changes}
    return TrainConfig(model="own", data=str(data), **settings)


def own(head: Any = None, channels: int = 3) -> keras.Model:
    """Scores of three classes, and what ``head`` makes of the features."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, channels), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="encoder")(inputs)
    scores = layers.Conv2D(3, 1, name="scores")(layers.BatchNormalization()(x))
    return keras.Model(inputs, scores if head is None else [scores, head(x)])


def quiet(line: str) -> None:
    """Swallow the epoch lines."""


@pytest.fixture
def copied(shapes_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes_dataset, tmp_path / "data"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: own(channels=1), r"'own' must take one image \(B, H, W, 3\), it takes \(None, 16, 16, 1\)"),
        (lambda: own(layers.GlobalAveragePooling2D(name="mean")), r"the output 'mean' of 'own' is \(None, 4\)"),
        (lambda: own(layers.Conv2D(4, 1, name="other")), r"the output 'other' of 'own' is \(None, 16, 16, 4\)"),
    ],
    ids=["one channel in", "no map out", "other classes out"],
)
def test_models_that_do_not_go_with_the_data(shapes_dataset: Path, tmp_path: Path, model: Any, message: str) -> None:
    with pytest.raises(EdgesegError, match=message):
        train(config(shapes_dataset), tmp_path / "run", RunOptions(callbacks=[_NoStep()]), model=model())
    assert not (tmp_path / "run").exists()


def test_a_batch_that_is_too_large_in_the_second_phase(shapes_dataset: Path, tmp_path: Path) -> None:
    settings = config(
        shapes_dataset, epochs=2, freeze_epochs=1, freeze_batch_size=2, freeze_before="scores", batch_size=99
    )
    with pytest.raises(InputError, match="fewer than the batch size 99"):
        train(settings, tmp_path, RunOptions(callbacks=[_NoStep()]), model=own())


def test_a_folder_that_cannot_be_written(shapes_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        train(config(shapes_dataset), tmp_path / "file" / "run", RunOptions(callbacks=[_NoStep()]), model=own())


def test_no_loss_for_the_output_that_is_validated(shapes_dataset: Path, tmp_path: Path) -> None:
    model = own(layers.Conv2D(3, 1, name="half"))
    with pytest.raises(InputError, match="'scores' is what is validated and exported, and there is no loss for it"):
        train(
            config(shapes_dataset),
            tmp_path,
            RunOptions(callbacks=[_NoStep()]),
            model=model,
            loss={"half": SegmentationLoss()},
        )


def test_validation_labels_of_ignored_pixels_alone(copied: Path, tmp_path: Path) -> None:
    for path in (copied / "val" / "labels").iterdir():
        cv2.imwrite(str(path), np.full((64, 80), 255, np.uint8))
    with pytest.raises(InputError, match="no pixel of the validation labels counts"):
        train(config(copied), tmp_path / "run", RunOptions(log=quiet), model=own())


def test_a_bad_file_that_the_pipeline_finds(copied: Path, tmp_path: Path) -> None:
    """Keras makes an error of its own of what is raised in the reading threads; not of the first batch."""
    (copied / "train" / "labels" / "03.png").write_bytes(b"no image")  # the last of the epoch with this seed
    with pytest.raises(BadExample, match=r"03\.png"):
        train(config(copied, batch_size=1), tmp_path / "run", RunOptions(log=quiet), model=own())


def test_resume_after_the_data_changed_and_a_new_run_in_an_old_folder(copied: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = config(copied)
    # A loss that gives a number for each pixel, as those of Keras that are functions do.
    losses = {"model": own(), "loss": per_pixel}
    train(settings, run, RunOptions(samples=1, tensorboard=True, log=quiet), **losses)

    for folder in ("images", "labels"):
        shutil.copy(copied / "train" / folder / "00.png", copied / "train" / folder / "more.png")
    with pytest.raises(InputError, match=r"training images: 10, now 11\); resume with the same"):
        train(settings, run, RunOptions(resume=True, log=quiet), **losses)
    (copied / "train" / "images" / "more.png").unlink()
    (copied / "train" / "labels" / "more.png").unlink()
    table = json.loads((copied / "classes.json").read_text())
    (copied / "classes.json").write_text(json.dumps({**table, "names": ["wall", "rouge", "blue"]}))
    with pytest.raises(InputError, match=r"now \['wall', 'rouge', 'blue'\]"):
        train(settings, run, RunOptions(resume=True, log=quiet), **losses)

    # A new run is not mixed with the old one, and not taken for it when it is resumed.
    with pytest.raises(KeyboardInterrupt):
        train(settings, run, RunOptions(overwrite=True, callbacks=[_Killed()], log=quiet), **losses)
    assert {path.name for path in run.rglob("*") if path.is_file()} == {"best.keras", "train.toml"}
    with pytest.raises(InputError, match="there is nothing to resume"):
        train(settings, run, RunOptions(resume=True, log=quiet), **losses)


def per_pixel(labels: Any, logits: Any) -> Any:
    ids = keras.ops.where(keras.ops.equal(labels, 255), keras.ops.zeros_like(labels), labels)
    return keras.losses.sparse_categorical_crossentropy(ids, logits, from_logits=True)
