from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import edgeseg
from edgeseg.errors import InputError
from edgeseg.training import distribution, fit
from edgeseg.training.config import TrainConfig
from edgeseg.training.distribution import Distribution, start
from edgeseg.training.fit import train
from edgeseg.training.run.options import RunOptions


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def settings_of(model: Path, data: Path) -> dict[str, Any]:
    return {
        "model": str(model),
        "data": str(data),
        "epochs": 3,
        "warmup_epochs": 1,
        "batch_size": 4,
        "optimizer": "sgd",  # Adam makes a large step of a gradient that is nothing but rounding
        "learning_rate": 0.05,
        "ema": 0.5,
    }


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """Batch norm, whose statistics are of the whole batch or they are wrong; no dropout, which differs by backend."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 48, 3))
    x = keras.layers.Conv2D(8, 5, padding="same", use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    keras.Model(inputs, keras.layers.Conv2D(3, 1)(x)).save(tmp_path / "tiny.keras")
    return tmp_path / "tiny.keras"


@pytest.mark.slow
def test_two_workers_on_jax_that_resume_train_what_one_process_does(
    shapes_dataset: Path, tiny_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jax")
    settings = settings_of(tiny_model, shapes_dataset)
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    program = [sys.executable, str(Path(__file__).with_name("train_then_resume.py"))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(edgeseg.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        "KERAS_BACKEND": "jax",
        distribution.ADDRESSES: f"127.0.0.1:{free_port()}",
        distribution.NUM_WORKERS: "2",
    }
    workers = [
        subprocess.Popen(
            [*program, *(str(tmp_path / name) for name in ("settings.json", "two", f"{worker}.npz")), "workers"],
            env={**environment, distribution.WORKER: str(worker)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for worker in range(2)
    ]
    try:
        # Meanwhile one process, on TensorFlow, with the whole batch and without an interruption.
        train(TrainConfig(**settings), tmp_path / "one", RunOptions(log=print))
        answers = [worker.communicate(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], answers
    # The chief alone has a log.
    assert sum(line.startswith("epoch ") for line in answers[0][0].splitlines()) == 3
    assert "interrupted" in answers[1][0]
    assert "epoch " not in answers[1][0]

    first, second = (list(np.load(tmp_path / f"{worker}.npz").values()) for worker in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    alone = keras.saving.load_model(tmp_path / "one" / "best.keras")
    shared = keras.saving.load_model(tmp_path / "two" / "best.keras")
    before = keras.saving.load_model(tiny_model)
    assert [row["epoch"] for row in rows(tmp_path / "two")] == [1, 2, 3]
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        # Sums of 4 * 32 * 48 numbers in another order and by another library: float32's 1e-7 a hundred times over.
        np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
        np.testing.assert_allclose(two["val_loss"], one["val_loss"], rtol=1e-5)
    for one, two, was in zip(alone.weights, shared.weights, before.weights, strict=True):
        np.testing.assert_allclose(np.asarray(two), np.asarray(one), rtol=1e-4, atol=1e-5)
        assert np.abs(np.asarray(one) - np.asarray(was)).max() > 1e-3, one.path


@pytest.mark.slow
def test_mirrored_variables_train_and_resume_as_plain_ones_do(
    shapes_dataset: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One mirrored device, as a process that has begun cannot get a second: the variables are of the same kind."""

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    config = TrainConfig(**settings_of(tiny_model, shapes_dataset))
    plain = train(config, tmp_path / "plain", RunOptions(log=print))
    monkeypatch.setattr(fit, "start", lambda _: distribution._OnTensorFlow(["CPU:0"]))
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "mirrored", RunOptions(callbacks=[Interrupt()], log=print))
    mirrored = train(config, tmp_path / "mirrored", RunOptions(resume=True, log=print))
    for one, other in zip(plain.history, mirrored.history, strict=True):
        # The same ops on the same numbers; only the order of the sums over a batch is the library's.
        np.testing.assert_allclose([one["loss"], one["val_loss"]], [other["loss"], other["val_loss"]], rtol=1e-5)


def test_several_workers_without_jax_are_refused() -> None:
    with pytest.raises(InputError, match="under KERAS_BACKEND=jax only, this is tensorflow"):
        start("workers")


def test_workers_that_nobody_introduced_are_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    monkeypatch.setattr(keras.distribution, "initialize", jax.distributed.initialize)
    with pytest.raises(InputError, match=r"the other workers are not known .*KERAS_DISTRIBUTION_NUM_PROCESSES"):
        start("workers")


def test_one_device_is_distributed_to_nobody() -> None:
    alone = start("auto")  # the tests' machine has one CPU, or at most one GPU
    assert (alone.worker, alone.num_workers, alone.is_chief) == (0, 1, True)
    assert alone.from_chief({"val_loss": 0.1}) == {"val_loss": 0.1}


@pytest.mark.parametrize(("batch_size", "nearest"), [(9, 8), (11, 12), (1, 4)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size: int, nearest: int) -> None:
    four = Distribution()
    four.num_replicas = 4
    four.require_shares(8)
    with pytest.raises(InputError, match=f"cannot be shared by 4 devices; .* such as {nearest}"):
        four.require_shares(batch_size)
