"""Train a segmentation model: build, compile, fit in phases, write files after every epoch, resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import writing_folder
from edgeseg.datasets import LabeledSplit
from edgeseg.datasets.source import as_source, find_data
from edgeseg.datasets.statistics import channel_statistics
from edgeseg.datasets.training_splits import training_splits
from edgeseg.errors import InputError
from edgeseg.models.encoders.layers import encoder_layers
from edgeseg.models.keras_files.custom_objects import load_custom_objects
from edgeseg.models.keras_graph import output_names
from edgeseg.spec import ModelSpec
from edgeseg.training.building import RunModels, build_models
from edgeseg.training.config import TrainConfig
from edgeseg.training.distribution import Distribution, start
from edgeseg.training.feed import Feed, SplitFeed
from edgeseg.training.integers import CALIBRATION_IMAGES, FreezeBatchNorm, in_integers, start_ranges
from edgeseg.training.objective.metrics import make_metrics
from edgeseg.training.objective.optimizers import make_optimizer
from edgeseg.training.objective.phases import phases_of
from edgeseg.training.objective.schedules import schedule_of
from edgeseg.training.output_losses import OutputLosses
from edgeseg.training.recipes.record import differences, record
from edgeseg.training.run.checkpoint import RunFiles
from edgeseg.training.run.epoch_end import EarlyStopping, EpochEnd
from edgeseg.training.run.folder import run_name
from edgeseg.training.run.options import RunOptions
from edgeseg.training.run.start_line import bytes_left, memory_warning, size_warning, start_line
from edgeseg.training.run.step_report import StepReport
from edgeseg.training.run.validation import Validator

#: Training images by which an encoder without batch norms is brought to the order of 1.
_ENCODER_IMAGES = 32

#: Training images whose sizes are compared with the model's.
_SIZED_IMAGES = 32


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a run.

    Attributes:
        exported: the ``.keras`` file that is ready for export: ``best``; or that of the last epoch, of a run that
            validates none.
        best: that of the epoch with the highest validation mIoU; ``None`` where no best epoch is known.
        best_epoch: that epoch, counted from 1.
        best_mean_iou: its validation mIoU in [0, 1], in inference mode and at the labels' own size, as ``evaluate``
            computes it; of a ``feed`` at the model's output size.
        history: one row of metrics for each epoch.
    """

    __repr__ = short_repr

    exported: Path
    best: Path | None
    best_epoch: int | None
    best_mean_iou: float | None
    history: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What every phase of a run is fitted with."""

    config: TrainConfig
    models: RunModels
    feed: Feed
    losses: OutputLosses
    metrics: Any
    files: RunFiles
    history: list[dict[str, float]]
    epoch_end: EpochEnd
    distribution: Distribution


def train(
    config: TrainConfig,
    output_dir: str | Path,
    options: RunOptions | None = None,
    *,
    model: keras.Model | None = None,
    spec: ModelSpec | None = None,
    feed: Callable[[RunModels], Feed] | None = None,
    loss: Any = None,
    custom_objects: Mapping[str, Any] | str | Path | None = None,
) -> TrainResult:
    """Train, or continue where a killed run stopped.

    Writes ``last.keras`` (with the optimizer, for resuming), ``best.keras`` (without validation ``final.keras``),
    ``train.toml`` (the recipe that repeats the run), ``history.csv`` and ``curves.png`` after each epoch, each to a
    temporary name first: a kill at any moment costs only the current epoch. On a CPU a resumed run gives the numbers of
    an uninterrupted one.

    Args:
        config: the run.
        output_dir: folder for the files.
        options: how it is carried out; the defaults of ``RunOptions`` when ``None``.
        model: the caller's own model, functional or Sequential, in place of ``config.model``'s; it is not changed. Its
            outputs are maps ``(B, H, W, C)`` of logits, flattened or not, or ``(B, H, W, 1)`` of two classes; a softmax
            or sigmoid at the end is removed, since the loss has one.
        spec: how to feed that model; built from ``config.mean`` and ``std`` where there is none.
        feed: makes the batches in place of those of ``config.data``; for models with several inputs. Class weights by
            frequency, and ``options.samples``, need that data and are then omitted.
        loss: as Keras' ``compile`` takes it, in place of the config's; a dict has the outputs' names. A name is one of
            the config's, with its settings. A loss of the caller's own gets logits, and labels whose id is 255 where a
            pixel does not count.
        custom_objects: code that a model file refers to: the Python file with it, or what ``load_custom_objects`` made
            of it.

    Raises:
        InputError: the data is bad, the folder holds a run already, is being written by another process or cannot be
            written, the model does not fit the data, the loss is not finite, or the run is resumed with another config
            or other data.
        UnsupportedModel: Keras cannot rebuild the model, or an output is no map of logits.
        BackendUnavailable: tensorboard is requested and is not installed.
    """
    options = options or RunOptions()
    distribution = start(options.distribute)  # before the first computation
    for batch_size in {phase.batch_size for phase in phases_of(config)}:
        distribution.require_shares(batch_size)
    if config.quantize is not None and distribution.num_replicas > 1:
        raise InputError("`quantize` trains on one device; omit `distribute`.")
    options.check(Path(output_dir))
    code: str | None = None
    if isinstance(custom_objects, str | Path):
        code, custom_objects = str(custom_objects), load_custom_objects(custom_objects)
    train_data, val_data = None, None
    if feed is None:
        train_data, val_data = training_splits(config.data, val_fraction=config.val_fraction, validate=config.validate)
    config = _with_statistics(config, train_data, options.log if distribution.is_chief else None)
    files = RunFiles(output_dir, _facts(train_data, val_data))
    history = files.history(partial(differences, config), validated=config.validate) if options.resume else []

    keras.utils.set_random_seed(config.seed)
    classes = train_data.classes if train_data else None
    models = build_models(
        config, classes, model=model, spec=spec, custom_objects=custom_objects, distribution=distribution
    )
    if config.quantize is not None:
        models = in_integers(config, models, custom_objects=custom_objects)
    if train_data is not None:
        name = run_name(Path(output_dir), as_source(config.data).name, config.model)
        models = replace(models, spec=models.spec.replace(name=name))
    of_a_program = {"model": model, "spec": spec, "feed": feed, "loss": loss}
    if code is None:
        of_a_program["custom_objects"] = custom_objects
    files.settings = record(
        config,
        options,
        custom_objects=code,
        known=_known(models.spec, config, train_data),
        not_held=tuple(name for name, given in of_a_program.items() if given is not None),
    )
    source: Feed
    if feed is not None:
        source = feed(models)
    else:
        assert train_data is not None
        source = SplitFeed(config, models, train_data, val_data, distribution)
    losses = OutputLosses.of(config, models, train_data, loss)
    if models.encoder is not None and not history:
        if distribution.is_chief:
            options.log(models.encoder.line())
        models.fit_encoder(source.statistics(_ENCODER_IMAGES))
    if models.quantized is not None and not history:
        start_ranges(models, source.statistics(CALIBRATION_IMAGES))
    metrics = _metrics(options.metrics, models)
    main = output_names(models.twin)[models.main_output]
    validator = Validator(
        models,
        source,
        losses.main if config.validate else None,
        config.num_recalibration,
        make_metrics(metrics.get(main, ()), models.spec.num_classes),
        labels=source.validation_labels if isinstance(source, SplitFeed) else None,
        progress=options.progress if distribution.is_chief else None,
    )
    epoch_end = EpochEnd(
        config,
        options,
        models=models,
        validator=validator,
        files=files,
        history=history,
        sampled=train_data if val_data is None else val_data,
        distribution=distribution,
    )
    callbacks: list[keras.callbacks.Callback] = [epoch_end, *_early_stopping(config, history)]
    if models.quantized is not None:
        callbacks.insert(0, FreezeBatchNorm(models.learning, config.num_batch_norm_epochs))
    if options.progress is not None and distribution.is_chief:
        callbacks.insert(0, StepReport(options.progress, config.epochs))
    if options.tensorboard and distribution.is_chief:
        callbacks.append(keras.callbacks.TensorBoard(files.folder / "tensorboard", write_graph=False))
    callbacks += options.callbacks
    with writing_folder(files.folder) if distribution.is_chief else nullcontext():
        if distribution.is_chief:
            files.prepare(resume=options.resume)
            if history:
                files.save_settings()
                files.save_history(history)
        with distribution.making():
            watched = {name: make_metrics(chosen, models.spec.num_classes) for name, chosen in metrics.items()}
        run = _Run(
            config=config,
            models=models,
            feed=source,
            losses=losses,
            metrics=watched if len(models.learning.outputs) > 1 else watched.get(main),
            files=files,
            history=history,
            epoch_end=epoch_end,
            distribution=distribution,
        )
        if train_data is not None and distribution.is_chief:
            assert isinstance(source, SplitFeed)
            _announce(config, models, options, source, (len(train_data), len(val_data or ())), len(history))
        with source.reading() if isinstance(source, SplitFeed) else nullcontext():
            _fit(run, callbacks)
    if epoch_end.ran and distribution.is_chief and (warning := validator.batch_norm_gap()):
        options.log(f"warning: {warning}")
    if not config.validate:
        return TrainResult(exported=files.final, best=None, best_epoch=None, best_mean_iou=None, history=tuple(history))
    best = max(history, key=lambda row: row["val_mean_iou"])
    return TrainResult(
        exported=files.best,
        best=files.best,
        best_epoch=int(best["epoch"]),
        best_mean_iou=best["val_mean_iou"],
        history=tuple(history),
    )


def _announce(
    config: TrainConfig,
    models: RunModels,
    options: RunOptions,
    source: SplitFeed,
    num_images: tuple[int, int],
    done: int,
) -> None:
    """Log what the run is, before the step that takes longest; and whether memory or the input's size may not do."""
    if done >= config.epochs:
        return
    num_training, num_validation = num_images
    options.log(
        start_line(config, models.learning, num_images=num_training, num_validation=num_validation, epochs_done=done)
    )
    # On a GPU the model is in its memory. Workers are not asked: JAX waits for all of them before it lists a GPU.
    on_cpu = options.distribute != "workers" and not _has_gpu()
    left = bytes_left() if on_cpu else None
    if warning := memory_warning(models.learning, config.batch_size, left):
        options.log(warning)
    sizes = source.image_sizes(_SIZED_IMAGES)
    if warning := size_warning(models.spec, models.learning, sizes, config.batch_size, left):
        options.log(warning)


def _has_gpu() -> bool:
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # from JAX without one
        return False


def _fit(run: _Run, callbacks: list[keras.callbacks.Callback]) -> None:
    """Fit every phase that is not finished; an interrupted one starts from the state of the last epoch."""
    config, history, model = run.config, run.history, run.models.learning
    encoder = encoder_layers(model, config.freeze_before) if config.num_freeze_epochs else []
    learns = [layer.trainable for layer in encoder]
    done, phases = len(history), phases_of(config)
    for phase in phases:
        if done > phase.end:
            continue
        for layer, own in zip(encoder, learns, strict=True):
            layer.trainable = own and not phase.frozen
        batches, steps = run.feed.training(phase.batch_size, len(history))
        run.epoch_end.schedule = schedule_of(config, phase, steps_per_epoch=steps)
        with run.distribution.making():
            model.compile(
                make_optimizer(config, run.epoch_end.schedule),
                run.losses.compiled,
                loss_weights=run.losses.weights,
                metrics=run.metrics,  # in place of those of a model that was compiled before
                auto_scale_loss=False,  # the optimizer does it
            )
            if phase.start < done:
                run.files.restore(model)
            if done == phase.end and phase.end < config.epochs:
                # As fit() does at its end: the next phase begins with the moving average.
                model.optimizer.finalize_variable_values(model.trainable_variables)
        # An encoder that is about to learn may still help: early stopping counts in the last phase only.
        current = [c for c in callbacks if phase is phases[-1] or not isinstance(c, EarlyStopping)]
        if len(history) >= phase.end or _stopped(current, model):
            continue
        with run.distribution.fitting():
            model.fit(
                batches,
                steps_per_epoch=steps,
                epochs=phase.end,
                initial_epoch=len(history),
                shuffle=False,  # the pipeline has done it
                verbose=0,
                callbacks=current,
            )
        if model.stop_training:  # by a callback of the caller's, whatever the phase
            break


def _facts(train_data: LabeledSplit | None, val_data: LabeledSplit | None) -> dict[str, Any]:
    """Return the facts that a resumed run must match: the schedule counts steps, the history has the classes' names."""
    if train_data is None:
        return {}
    return {
        "training images": len(train_data),
        "validation images": 0 if val_data is None else len(val_data),
        "classes": list(train_data.classes.names),
    }


def _known(spec: ModelSpec, config: TrainConfig, data: LabeledSplit | None) -> dict[str, Any]:
    """Return what the run takes for settings of its model and its data that were omitted."""
    size = config.input_size or spec.input_size
    known: dict[str, Any] = {"input_size": size, "crop_size": size, "mean": spec.mean, "std": spec.std}
    if data is not None:
        known |= {
            "layout": find_data(config.data)[0].layout,
            "label_encoding": data.label_encoding,
            "ignore_index": data.classes.ignore_index,
        }
    return known


def _with_statistics(config: TrainConfig, data: LabeledSplit | None, log: Callable[[str], None] | None) -> TrainConfig:
    """Return the config with the numbers of the training images where it says ``data``."""
    asked = [name for name in ("mean", "std") if getattr(config, name) == "data"]
    if not asked:
        return config
    if data is None:
        raise InputError(f"{asked[0]} 'data' is that of config.data's images, which a feed replaces; give numbers.")
    statistics = channel_statistics(data)
    if log is not None:
        log(f"of the {len(data)} training images: {statistics.as_settings()}")
    return replace(config, **{name: getattr(statistics, name) for name in asked})


def _metrics(chosen: Sequence[Any] | Mapping[str, Sequence[Any]], models: RunModels) -> Mapping[str, Sequence[Any]]:
    """Return what is watched by the outputs' names."""
    names = output_names(models.twin)
    if not isinstance(chosen, Mapping):
        return {names[models.main_output]: chosen} if chosen else {}
    for name in chosen:
        if name not in names:
            raise InputError(f"metrics are given for the output '{name}'; the model has {', '.join(names)}.")
    return chosen


def _early_stopping(config: TrainConfig, history: list[dict[str, float]]) -> list[keras.callbacks.Callback]:
    if config.early_stopping is None:
        return []
    start = phases_of(config)[-1].start
    return [EarlyStopping(config.early_stopping_on, config.early_stopping, history, start)]


def _stopped(callbacks: Sequence[keras.callbacks.Callback], model: keras.Model) -> bool:
    """Return whether the run had stopped early before it was resumed."""
    model.stop_training = False
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):
            callback.set_model(model)
            callback.on_train_begin()
    return bool(model.stop_training)
