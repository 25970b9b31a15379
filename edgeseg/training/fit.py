"""Trains a model of the zoo: compile, fit, checkpoints after every epoch, resume after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from edgeseg.datasets import open_split
from edgeseg.files import refuse_existing
from edgeseg.models import create, find
from edgeseg.models.efficientnet_lite import load_imagenet_encoder
from edgeseg.training.augment import IGNORED, Augmentation
from edgeseg.training.checkpoint import Checkpoint, Log, load_checkpoint
from edgeseg.training.config import TrainConfig
from edgeseg.training.data import sqrt_median_frequency, training_pipeline


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
        model, history = load_checkpoint(last, config)
    else:
        refuse_existing(last, overwrite=overwrite)
        model = create(config.model, num_classes=spec.num_classes, input_size=crop_size)
        if config.encoder_weights == "imagenet":
            load_imagenet_encoder(model)
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
        class_weights=weights,
        seed=config.seed,
        label_size=model.output_shape[1:3],
        start_epoch=len(history),
    )
    if not resume:
        _compile(model, config, steps)
    checkpoint = Checkpoint(output_dir, config, spec, val_data, history, log)
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
