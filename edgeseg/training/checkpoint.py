"""The files of a run: validated and written after every epoch, read again by a resumed run."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.files import write_bytes
from edgeseg.models import create
from edgeseg.models.keras_file import load_model, read_training_state, save_model
from edgeseg.spec import ModelSpec
from edgeseg.training.augment import IGNORED
from edgeseg.training.config import TrainConfig
from edgeseg.training.data import validation_batches

Log = Callable[[str], None]


def load_checkpoint(last: Path, config: TrainConfig) -> tuple[keras.Model, list[dict[str, float]]]:
    """The model with its optimizer, and the history, of a run of the same config."""
    if not last.is_file():
        raise InputError(f"there is nothing to resume: '{last}' does not exist; leave --resume out to start.")
    state = read_training_state(last)
    if state is None:
        raise InputError(f"'{last}' was not written by edgeseg train; it cannot be resumed.")
    # Through JSON, where tuples are lists, so that the two compare equal.
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    was = state["config"]
    differs = [f"{key} was {was.get(key)}, is {value}" for key, value in wanted.items() if was.get(key) != value]
    if differs:
        raise InputError(f"'{last}' is of another run ({'; '.join(differs)}); resume with its own settings.")
    return load_model(last, compile=True), state["history"]


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no type information
    """Validates in inference mode after each epoch, then writes the files."""

    def __init__(
        self,
        output_dir: Path,
        config: TrainConfig,
        spec: ModelSpec,
        val_data: Any,
        history: list[dict[str, float]],
        log: Log,
    ) -> None:
        super().__init__()
        self._dir, self._config, self._spec, self._log, self._history = output_dir, config, spec, log, history
        self._val_data = val_data
        # The model under training takes crops; this one has the same layers at the size it is made for.
        self._exported = create(config.model, num_classes=spec.num_classes, input_size=spec.input_size)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Validate, then write the files."""
        mean_iou = self._validate()
        learning_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise InputError(f"the loss is {loss} in epoch {epoch + 1}; start again with a lower learning rate.")
        is_best = mean_iou > max((row["val_mean_iou"] for row in self._history), default=-1.0)
        self._history.append(
            {"epoch": epoch + 1, "loss": loss, "val_mean_iou": mean_iou, "learning_rate": learning_rate}
        )
        state = {"config": dataclasses.asdict(self._config), "history": self._history}
        if is_best:
            # At its own input size and without the optimizer: ready for export.
            save_model(self._exported, self._dir / "best.keras", self._spec, overwrite=True)
        save_model(self.model, self._dir / "last.keras", self._spec, training_state=state, overwrite=True)
        table = io.StringIO()
        writer = csv.DictWriter(table, self._history[0].keys())
        writer.writeheader()
        writer.writerows(self._history)
        write_bytes(self._dir / "history.csv", table.getvalue().encode(), overwrite=True)
        self._log(
            f"epoch {epoch + 1}/{self._config.epochs}  loss {loss:.4f}  val mIoU {mean_iou:.4f}"
            + ("  (best)" if is_best else "")
        )

    def _validate(self) -> float:
        metric = keras.metrics.MeanIoU(
            self._spec.num_classes, ignore_class=IGNORED, sparse_y_true=True, sparse_y_pred=False
        )
        self._exported.set_weights(self.model.get_weights())
        for images, labels in validation_batches(
            self._val_data, self._spec, self._config.batch_size, label_size=self._exported.output_shape[1:3]
        ):
            metric.update_state(labels, self._exported.predict_on_batch(images))
        return float(keras.ops.convert_to_numpy(metric.result()))
