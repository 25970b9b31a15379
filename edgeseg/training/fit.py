"""Trains a model of the zoo: compile, fit, checkpoints after every epoch, resume after a kill."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from edgeseg.datasets import DataSource, open_split
from edgeseg.errors import InputError
from edgeseg.files import refuse_existing, write_bytes
from edgeseg.models import create, find
from edgeseg.models.efficientnet_lite import load_imagenet_encoder
from edgeseg.models.keras_file import load_model, read_training_state, save_model
from edgeseg.spec import ModelSpec
from edgeseg.training.augment import IGNORED, Augmentation
from edgeseg.training.class_weights import sqrt_median_frequency
from edgeseg.training.data import training_pipeline, validation_batches

ClassWeights = Literal["none", "sqrt-median-frequency"]
Log = Callable[[str], None]

#: Encoder weights by architecture, for ``--encoder-weights imagenet``.
_IMAGENET: Mapping[str, Callable[[keras.Model], None]] = {"efficientnet_lite0_unet": load_imagenet_encoder}


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training run depends on; two runs of one config on one machine give one model.

    Attributes:
        model: a name of the zoo.
        data: labelled data set with ``train`` and ``val``; a folder, or a folder and what to know about it.
        input_size: ``(H, W)`` the model is made for and validated at; the zoo's default when ``None``.
        crop_size: ``(H, W)`` of the training crops; ``input_size`` when ``None``.
        epochs: passes over the training split.
        batch_size: crops in a step.
        learning_rate: peak, reached after the warm-up, then cosine to zero.
        warmup_epochs: epochs of linear warm-up.
        weight_decay: of AdamW; biases and batch-norm parameters are exempt.
        scale: smallest and largest augmentation scale.
        class_weights: how the cross-entropy weighs the classes.
        batch_norm_momentum: of the moving averages. Keras' 0.99 needs thousands of steps; with fewer the
            exported model collapses while the training loss looks fine.
        encoder_weights: ``imagenet`` starts from a pretrained encoder where the zoo knows one.
        seed: of the weights, the order and the augmentation.
    """

    model: str
    data: str | DataSource
    input_size: tuple[int, int] | None = None
    crop_size: tuple[int, int] | None = None
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 2e-3
    warmup_epochs: int = 2
    weight_decay: float = 0.02
    scale: tuple[float, float] = (0.6, 1.6)
    class_weights: ClassWeights = "sqrt-median-frequency"
    batch_norm_momentum: float = 0.9
    encoder_weights: Literal["none", "imagenet"] = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}.")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise InputError(f"warmup_epochs must be 0 to {self.epochs - 1}, got {self.warmup_epochs}.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"scale must be (smallest, largest), both above 0, got {self.scale}.")
        if self.encoder_weights == "imagenet" and self.model not in _IMAGENET:
            raise InputError(f"there are ImageNet weights for {', '.join(_IMAGENET)}, not for '{self.model}'.")


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        best: the ``.keras`` file of the epoch with the highest validation mIoU.
        best_epoch: that epoch, counted from 1.
        best_mean_iou: its validation mIoU in [0, 1], in inference mode, at the model's input size.
        history: one row of metrics for each epoch.
    """

    best: Path
    best_epoch: int
    best_mean_iou: float
    history: tuple[Mapping[str, float], ...]


def train(
    config: TrainConfig, output_dir: str | Path, *, resume: bool = False, overwrite: bool = False, log: Log = print
) -> TrainResult:
    """Train, or go on where a killed run stopped.

    Writes ``last.keras`` (with the optimizer, for resuming), ``best.keras`` and ``history.csv`` after each epoch,
    each to a temporary name first: a kill at any moment costs the epoch under way and no more.

    Args:
        config: the run.
        output_dir: folder for the files.
        resume: go on from ``last.keras``; the config must be that of the interrupted run.
        overwrite: whether files of an earlier run may be replaced.
        log: gets one line for each epoch.

    Raises:
        InputError: bad data, a folder that holds a run already, or a resume with another config.
    """
    output_dir = Path(output_dir)
    last = output_dir / "last.keras"
    zoo_model = find(config.model)
    train_data, val_data = open_split(config.data, "train"), open_split(config.data, "val")
    classes = train_data.classes
    size = config.input_size or zoo_model.default_size
    crop_size = config.crop_size or size
    spec = zoo_model.spec(size, classes.names, classes.palette, classes.ignore_index)
    for checked in (size, crop_size):
        zoo_model.check_size(checked)

    keras.utils.set_random_seed(config.seed)
    history: list[dict[str, float]] = []
    if resume:
        model, history = _load_checkpoint(last, config)
    else:
        refuse_existing(last, overwrite=overwrite)
        model = create(config.model, num_classes=spec.num_classes, input_size=crop_size)
        if config.encoder_weights == "imagenet":
            _IMAGENET[config.model](model)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = config.batch_norm_momentum

    weights = np.ones(spec.num_classes, np.float32)
    if config.class_weights == "sqrt-median-frequency":
        weights = sqrt_median_frequency(train_data)
    batches, steps = training_pipeline(
        train_data,
        spec,
        Augmentation(crop_size, scale=config.scale, pad_value=spec.pad_value),
        batch_size=config.batch_size,
        seed=config.seed,
        label_sizes=model.output_shape[1:3],
        start_epoch=len(history),
    )
    weight_table = np.zeros(256, np.float32)
    weight_table[: len(weights)] = weights
    batches = batches.map(lambda batch: (*batch, weight_table[batch[1]]))
    if not resume:
        _compile(model, config, steps)
    checkpoint = _Checkpoint(output_dir, config, spec, val_data, history, log)
    if len(history) < config.epochs:
        model.fit(
            batches,
            steps_per_epoch=steps,
            epochs=config.epochs,
            initial_epoch=len(history),
            shuffle=False,  # the pipeline has done it
            verbose=0,
            callbacks=[checkpoint],
        )
    best = max(history, key=lambda row: row["val_mean_iou"])
    return TrainResult(output_dir / "best.keras", int(best["epoch"]), best["val_mean_iou"], tuple(history))


def _compile(model: keras.Model, config: TrainConfig, steps: int) -> None:
    warmup = config.warmup_epochs * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=IGNORED, reduction="mean_with_sample_weight"
    )
    model.compile(optimizer=optimizer, loss=loss)


def _load_checkpoint(last: Path, config: TrainConfig) -> tuple[keras.Model, list[dict[str, float]]]:
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


class _Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no type information
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
            self._val_data, self._spec, self._config.batch_size, label_sizes=self._exported.output_shape[1:3]
        ):
            metric.update_state(labels, self._exported.predict_on_batch(images))
        return float(keras.ops.convert_to_numpy(metric.result()))
