"""Finish an epoch: validate, write the files of the run, and decide whether it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from edgeseg.choices import StoppingColumn
from edgeseg.datasets import LabeledSplit
from edgeseg.errors import InputError
from edgeseg.training.building import RunModels
from edgeseg.training.config import TrainConfig
from edgeseg.training.distribution import Distribution
from edgeseg.training.objective.pixels import class_scores
from edgeseg.training.objective.schedules import EpochSchedule
from edgeseg.training.run.checkpoint import RunFiles, iterations
from edgeseg.training.run.options import RunOptions
from edgeseg.training.run.samples import save_samples
from edgeseg.training.run.validation import Validator


class EarlyStopping(keras.callbacks.EarlyStopping):  # type: ignore[misc]  # keras has no type information
    """Keras' own callback, with the epochs before a resume; those before ``start`` do not count."""

    def __init__(
        self, column: StoppingColumn, patience: int, history: Sequence[Mapping[str, float]], start: int
    ) -> None:
        super().__init__(column, mode="max" if column == "val_mean_iou" else "min", patience=patience)
        self._history, self._start = history, start

    def on_train_begin(self, logs: Any = None) -> None:
        """Count the epochs that a resumed run has done."""
        super().on_train_begin(logs)
        for row in self._history[self._start :]:
            self.on_epoch_end(int(row["epoch"]) - 1, row)


class EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]
    """Validates after each epoch, then writes the files.

    Attributes:
        ran: whether an epoch has ended.
        schedule: of the phase that is fitted.
    """

    schedule: EpochSchedule

    def __init__(
        self,
        config: TrainConfig,
        options: RunOptions,
        *,
        models: RunModels,
        validator: Validator,
        files: RunFiles,
        history: list[dict[str, float]],
        sampled: LabeledSplit | None,
        distribution: Distribution,
    ) -> None:
        """Store what the end of an epoch needs.

        Args:
            config: the run.
            options: its ``RunOptions``.
            models: the models of the run.
            validator: computes the scores.
            files: of its folder.
            history: one row for each epoch that is done; a row is added at the end of each.
            sampled: the split that ``options.samples`` images are drawn from; none is drawn when ``None``.
            distribution: the other processes that take part.
        """
        super().__init__()
        self._config, self._options, self._models = config, options, models
        self._validator, self._files, self._history = validator, files, history
        self._sampled, self._distribution = sampled, distribution
        self.ran = False
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Validate where that is asked for, add the scores to ``logs``, write the files, and log a line."""
        logs = {} if logs is None else logs
        loss = logs["loss"]
        if not math.isfinite(loss):
            raise InputError(f"the loss is {loss} in epoch {epoch + 1}; start again with a lower learning rate.")
        # Of the epoch's last step: the optimizer has the one of the next step by now, thus of the next epoch.
        last_step = max(iterations(self.model) - 1, 0)
        learning_rate = float(keras.ops.convert_to_numpy(self.schedule(last_step)))
        with self._distribution.alone():
            scores = self._validator()
        # Into Keras' own logs, for the callbacks that come after this one.
        logs |= self._distribution.from_chief(scores)
        seconds = round(time.perf_counter() - self._began, 1)
        exported: Path | None = self._files.final
        if self._config.validate:
            is_best = logs["val_mean_iou"] > max((row["val_mean_iou"] for row in self._history), default=-1.0)
            exported = self._files.best if is_best else None
        self._history.append({"epoch": epoch + 1, **logs, "learning_rate": learning_rate, "seconds": seconds})
        self.ran = True
        if self._distribution.is_chief:
            with self._distribution.alone():
                self._write(exported)
                self._log_epoch(self._history[-1], is_best=exported == self._files.best)
        self._distribution.wait_for_all()

    def _log_epoch(self, row: Mapping[str, float], *, is_best: bool) -> None:
        text = f"epoch {row['epoch']}/{self._config.epochs}  loss {row['loss']:.4f}  "
        if self._config.validate:
            text += f"val loss {row['val_loss']:.4f}  val mIoU {row['val_mean_iou']:.4f}  "
        self._options.log(f"{text}{row['seconds']:.0f} s" + ("  (best)" if is_best else ""))

    def _write(self, exported: Path | None) -> None:
        every = self._options.save_every
        if every and len(self._history) % every == 0:
            self._files.save_checkpoint(self._models, self._history[-1])
        self._files.save(self._models, self._history, exported=exported)
        if self._sampled is not None and self._options.samples:
            path = self._files.folder / "samples" / f"epoch_{len(self._history):03d}.png"
            save_samples(self._predict, self._sampled, self._models.spec, path, count=self._options.samples)

    def _predict(self, images: Any) -> Any:
        return keras.ops.convert_to_numpy(class_scores(self._models.exported(images, training=False)))
