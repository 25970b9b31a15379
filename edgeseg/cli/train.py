"""Train a model of the zoo, or the user's own, on a labeled data set (``edgeseg train``)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg.choices import AugmentationPreset, Border, EncoderWeights, FrequencyWeights, WatchedMetric
from edgeseg.cli import _completion, _options, _recipes
from edgeseg.cli._by_output import LossType, OutputWeightsType
from edgeseg.cli._fields import collect, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._saving import RUNS, free_place, latest_place
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, progress, progress_of_steps, quiet_native_logs, say, tell
from edgeseg.errors import InputError
from edgeseg.training.config import (
    FINAL_LEARNING_RATES,
    FORMER_PRESETS,
    OPTIMIZER_DEFAULTS,
    QUANTIZE_RATE,
    RECALIBRATION_WITH_EMA,
    WARMUP_EPOCHS,
    TrainConfig,
)
from edgeseg.training.run.folder import LAST
from edgeseg.training.run.options import RunOptions

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Data": (
            "data", "classes", "data_layout", "label_encoding", "ignore_index", "color_map", "max_image_pixels",
            "val_fraction", "validate", "checks",
        ),
        "Model": (
            "input_size", "crop_size", "weights", "encoder_weights", "model_options", "custom_objects", "main_output",
            "mean", "std", "resize", "letterbox_rounding",
        ),
        "Optimizer": (
            "epochs", "repeat", "batch_size", "optimizer", "learning_rate", "nominal_batch_size", "momentum",
            "weight_decay", "clipnorm", "global_clipnorm", "ema", "mixed_precision",
        ),
        "Learning rate": ("schedule", "warmup_epochs", "warmup", "final_learning_rate", "decay_rate"),
        "Freezing the encoder": (
            "freeze_epochs", "freeze_batch_size", "freeze_learning_rate", "freeze_before",
        ),
        "Loss": (
            "loss", "class_weights", "class_weight_normalization", "label_smoothing", "probability_clip", "focal_alpha",
            "focal_gamma", "dice_beta", "dice_smooth", "output_weights",
        ),
        "Augmentation": (
            "augmentation", "scale", "aspect", "rotate", "rotate_degrees", "zoom", "shift", "elastic", "border", "flip",
            "flip_vertical", "blur", "brightness", "contrast", "hsv",
        ),
        "Training in integers": ("quantize", "quantize_for", "batch_norm_epochs", "teacher", "teacher_weight"),
        "Batch norm": ("batch_norm_momentum", "batch_norm_recalibration"),
        "Run": (
            "recipe", "output_dir", "resume", "metrics", "save_every", "early_stopping", "early_stopping_on", "samples",
            "tensorboard", "distribute", "seed", "overwrite", "as_json",
        ),
    }  # fmt: skip

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``--resume`` alone for the latest run."""
        latest = latest_place("train", LAST) if args == ["--resume"] else None
        return super().parse_args(ctx, [*args, str(latest)] if latest else args)


class _ClassWeightsType(click.ParamType[Any]):
    """A word for weights from the data, or a number for each class."""

    name = "class weights"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """Return the words as they are typed; click would write them in capitals."""
        return f"[{'|'.join(get_args(FrequencyWeights))}|W0,W1,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in get_args(FrequencyWeights):
            return value
        try:
            return tuple(float(number) for number in value.split(","))
        except ValueError:
            words = ", ".join(get_args(FrequencyWeights))
            self.fail(f"'{value}' is not accepted; give {words} or numbers with commas between.", param, ctx)


class _EpochsType(click.ParamType[Any]):
    """A number of epochs, or all of them."""

    name = "epochs"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """Return the word as it is typed; click would write it in capitals."""
        return "[all|N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "all" else click.IntRange(0).convert(value, param, ctx)


class _EncoderWeightsType(click.Path):
    """A file, or a word for what is no file."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """Return the words as they are typed; click would write them in capitals."""
        return f"[{'|'.join(get_args(EncoderWeights))}|FILE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in get_args(EncoderWeights) else super().convert(value, param, ctx)


class _OfDataType(_options.TripleType):
    """Numbers, or those of the training images."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """Return the word as it is typed; click would write it in capitals."""
        return f"[data|{self.name}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "data" else super().convert(value, param, ctx)


class _PresetType(click.Choice[str]):
    """A preset of ``Augmentation``; a former name is taken, as a run is resumed by the command that began it."""

    def __init__(self) -> None:
        super().__init__(get_args(AugmentationPreset))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(FORMER_PRESETS.get(value, value), param, ctx)


_POSITIVE = click.FloatRange(0, min_open=True)
_SHARE = click.FloatRange(0, 1)
_BELOW_1 = click.FloatRange(0, 1, max_open=True)


def _run(*, metrics: tuple[tuple[str, ...], ...], **options: Any) -> RunOptions:
    watched = dict.fromkeys(name for names in metrics for name in names)
    return RunOptions(metrics=tuple(watched), log=tell, **options)


def _augmentation_changes(**changes: Any) -> dict[str, Any]:
    """Return the fields of ``Augmentation`` that differ from the preset: those that were typed."""
    return {name: value for name, value in changes.items() if value is not None}


_OF_THE_MODEL = "the model's own"


def _by_optimizer(index: int) -> str:
    """Return the default of an omitted setting for each optimizer: the learning rate (0) or the weight decay (1)."""
    return ", ".join(f"{name} {values[index]:g}" for name, values in OPTIMIZER_DEFAULTS.items())


def _setting(name: str, **attributes: Any) -> Callable[[Any], Any]:
    """Make the option of a field of ``TrainConfig``."""
    return option(TrainConfig, name, **attributes)


_DETAILS = """\
MODEL is a zoo name, or a .keras or .h5 file; a --recipe may have it, and all options. best.keras is ready for export,
and edgeseg train --resume RUN continues a killed run, --resume alone the latest of runs/. With --no-val there is no
best: final.keras is the last epoch's.

Runs on the Keras backend that KERAS_BACKEND names: tensorflow, or jax.
"""


@click.command("train", cls=_Command, help=help_of("train", _DETAILS))
@click.argument("model", required=False, shell_complete=_completion.models)
@_options.dataset(help="Labeled data set with train and val.")
@_setting(
    "val_fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of train to validate on, of data without val.",
)
@_setting("validate", flag="--val", help="Validate each epoch. Without, the last is kept, and no best one is known.")
@click.option(
    "--check/--no-check", "checks", default=True, show_default=True, help="Read all files first, and stop at a bad one."
)
@_setting(
    "input_size",
    flag="--imgsz",
    type=_options.SizeType(),
    help="Size the model is made for and validated at.",
    if_omitted=_OF_THE_MODEL,
)
@_setting("crop_size", type=_options.SizeType(), help="Size of the training images.", if_omitted="--imgsz")
@_setting(
    "weights",
    type=click.Path(exists=True, dir_okay=False),
    help="Weights file that a zoo model starts from; its head may differ.",
)
@_setting(
    "encoder_weights",
    type=_EncoderWeightsType(),
    help="What the encoder starts from: a published file, with or without top, or ImageNet's by download.",
)
@_options.model_option
@_options.custom_objects
@_setting(
    "main_output",
    flag="--output",
    help="Name of the output to validate and export, of a model with several.",
    if_omitted="the first",
)
@_setting(
    "mean",
    type=_OfDataType(),
    help="Subtracted from pixels in [0, 255]; data is the mean of the training images.",
    if_omitted=_OF_THE_MODEL,
)
@_setting(
    "std",
    type=_OfDataType(),
    help="What the difference is divided by; data is the deviation of the training images.",
    if_omitted=_OF_THE_MODEL,
)
@_setting(
    "resize",
    help="How images are scaled, in training and after it: by OpenCV, or -antialias as by Pillow.",
    if_omitted=f"{_OF_THE_MODEL}; area where training images shrink by bilinear",
)
@_setting(
    "letterbox_rounding",
    help="How letterboxed images get whole sides; floor as by int().",
    if_omitted=_OF_THE_MODEL,
)
@_setting("epochs", type=click.IntRange(1), help="Passes over the training images, including the frozen epochs.")
@_setting(
    "repeat",
    type=click.IntRange(1),
    help="Times each training image is used in an epoch; more where there are few, large ones.",
)
@_setting("batch_size", type=click.IntRange(1), help="Images per step.")
@_setting("optimizer", help="Optimizer; sgd uses Nesterov's momentum.")
@_setting(
    "learning_rate",
    type=_POSITIVE,
    help="Peak learning rate.",
    if_omitted=f"{_by_optimizer(0)}, {QUANTIZE_RATE:g} of that with --quantize",
)
@_setting(
    "nominal_batch_size",
    type=click.IntRange(1),
    help="The learning rate is for this batch size and scaled to the real one; the tutorials' is 16.",
    if_omitted="not scaled",
)
@_setting("momentum", type=_BELOW_1, help="Momentum of sgd; adam's beta_1.")
@_setting("weight_decay", type=click.FloatRange(0), help="Decoupled weight decay.", if_omitted=_by_optimizer(1))
@_setting("clipnorm", type=_POSITIVE, help="Largest norm of the gradient of each variable.")
@_setting("global_clipnorm", type=_POSITIVE, help="Largest norm of all gradients together.")
@_setting("ema", type=_BELOW_1, help="Momentum of a moving average of the weights, which is then exported.")
@_setting("mixed_precision", help="Type to compute in; weights stay in float32.")
@_setting("schedule", help="Course of the learning rate after the warm-up.")
@_setting(
    "warmup_epochs",
    type=click.IntRange(0),
    help="Epochs of warm-up.",
    if_omitted=f"{WARMUP_EPOCHS}, fewer in a shorter run, 0 with --quantize",
)
@_setting("warmup", help="Whether the learning rate rises with every step, or with every epoch.")
@_setting(
    "final_learning_rate",
    type=_BELOW_1,
    help="Share of the peak at which cosine and step end.",
    if_omitted=", ".join(f"{name} {share:g}" for name, share in FINAL_LEARNING_RATES.items()),
)
@_setting("decay_rate", type=click.FloatRange(0, 1, min_open=True), help="Factor of each epoch, of exponential.")
@_setting("freeze_epochs", type=_EpochsType(), help="First epochs, or all, in which only the decoder learns.")
@_setting(
    "freeze_batch_size",
    type=click.IntRange(1),
    help="Images per step of the frozen epochs.",
    if_omitted="--batch-size",
)
@_setting(
    "freeze_learning_rate",
    type=_POSITIVE,
    help="Peak learning rate of the frozen epochs.",
    if_omitted="--learning-rate",
)
@_setting("freeze_before", metavar="LAYER", help="First layer after the encoder; known for the zoo.")
@_setting(
    "loss",
    type=LossType(),
    help="Loss of each pixel, of the whole map, or both; or of each output by its name.",
)
@_setting(
    "class_weights", type=_ClassWeightsType(), help="Weights of the classes: from the data, or a number for each class."
)
@_setting(
    "class_weight_normalization",
    help="Divide the weighted loss by the sum of the pixels' weights, or by their number, as the U-Net tutorial does.",
)
@_setting(
    "probability_clip",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    help="Least probability in the loss; the tutorials' is 1e-7.",
    if_omitted="not clipped",
)
@_setting("label_smoothing", type=_BELOW_1, help="Share of the target that is spread over all classes.")
@_setting("focal_alpha", type=_POSITIVE, help="Factor of the focal loss.")
@_setting("focal_gamma", type=click.FloatRange(0), help="How strongly the focal loss discounts confident pixels.")
@_setting("dice_beta", type=_POSITIVE, help="Above 1 the Dice loss weighs recall more, below 1 precision.")
@_setting("dice_smooth", type=_POSITIVE, help="Added above and below the fraction of the Dice loss.")
@_setting(
    "output_weights",
    type=OutputWeightsType(),
    help="Weight of each output's loss, of a model with several.",
    if_omitted="1 each",
)
@_setting(
    "augmentation",
    type=_PresetType(),
    help="Random pieces of images, whole ones jittered on gray, or what a tutorial does; the options below change it.",
)
@collect(
    "augmentation_changes",
    _augmentation_changes,
    click.option("--scale", type=(float, float), metavar="LOW HIGH", help="Smallest and largest scale."),
    click.option("--aspect", type=_BELOW_1, help="Jitter of width to height."),
    click.option("--rotate", type=_SHARE, help="Probability of a rotation."),
    click.option("--rotate-degrees", type=click.FloatRange(0, 180), help="Largest angle."),
    click.option("--zoom", type=_BELOW_1, help="Largest change of the height, and of the width, that is shown."),
    click.option("--shift", type=_SHARE, help="Largest shift, as a share of the input, whatever the scale."),
    click.option(
        "--elastic",
        type=click.FloatRange(0),
        metavar="PIXELS",
        help="Standard deviation of smooth random displacements.",
    ),
    click.option(
        "--border", type=click.Choice(get_args(Border)), help="Beside the image: gray, or its border repeated."
    ),
    click.option("--flip", type=_SHARE, help="Probability of a left-right flip."),
    click.option("--flip-vertical", type=_SHARE, help="Probability of an upside-down flip."),
    click.option("--blur", type=_SHARE, help="Probability of a Gaussian blur."),
    click.option("--brightness", type=_SHARE, help="Largest change of brightness."),
    click.option("--contrast", type=_SHARE, help="Largest relative change of contrast."),
    click.option(
        "--hsv", type=(float, float, float), metavar="H S V", help="Largest changes of hue, saturation and value."
    ),
)
@_setting(
    "quantize",
    help="Go on from a trained model, a few epochs, rounding as the exported file does; the ranges are learned.",
)
@_setting("quantize_for", help="Format whose integers and rounding are followed; the other can be exported too.")
@_setting(
    "batch_norm_epochs",
    type=click.IntRange(0),
    metavar="N",
    help="First epochs in which batch norms take the batch's statistics; then they are frozen.",
    if_omitted="a third of --epochs",
)
@_setting(
    "teacher",
    metavar="MODEL",
    help="Float model whose logits are imitated, most often MODEL itself.",
)
@_setting("teacher_weight", type=_POSITIVE, help="Weight of that beside the loss.")
@_setting("batch_norm_momentum", type=_BELOW_1, help="Momentum of the moving averages.")
@_setting(
    "batch_norm_recalibration",
    type=click.IntRange(0),
    metavar="N",
    help="Training images to compute the statistics from before each validation, instead of moving averages.",
    if_omitted=f"{RECALIBRATION_WITH_EMA} with --ema, else 0",
)
@_setting(
    "early_stopping",
    type=click.IntRange(1),
    metavar="N",
    help="End after N epochs without a better --early-stopping-on.",
)
@_setting("early_stopping_on", help="Column of history.csv that early stopping watches.")
@_setting("seed", type=click.IntRange(0, 2**32 - 1), help="Seed of weights, order and augmentation.")
@_recipes.option
@click.option(
    "--output-dir", type=_options.FOLDER, help="Folder of the run.", show_default="runs/train, runs/train2, ..."
)
@collect(
    "run",
    _run,
    _recipes.resume_option,
    click.option(
        "--metric",
        "metrics",
        type=_options.NamesType(get_args(WatchedMetric)),
        multiple=True,
        help="Scores to watch in training and validation, as columns and curves; repeatable.",
    ),
    click.option(
        "--save-every", type=click.IntRange(1), metavar="N", help="Keep the model of each Nth epoch, in checkpoints."
    ),
    click.option(
        "--samples",
        type=click.IntRange(0),
        default=4,
        show_default=True,
        help="Validation images to draw predictions of after each epoch.",
    ),
    click.option("--tensorboard", is_flag=True, help="Write a log for TensorBoard."),
    option(
        RunOptions,
        "distribute",
        help="Share each batch among the GPUs of this machine (auto); or with other processes (workers; needs "
        "KERAS_BACKEND=jax, and Keras' KERAS_DISTRIBUTION_* variables in each).",
    ),
    _options.overwrite,
)
@_options.as_json
def command(
    model: str | None,
    data: DataSource,
    checks: bool,
    custom_objects: str | None,
    output_dir: Path | None,
    run: RunOptions,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run ``edgeseg train``."""
    from edgeseg.datasets.check import check
    from edgeseg.datasets.findings import require_good
    from edgeseg.datasets.training_splits import splits_of_training, training_splits
    from edgeseg.errors import missing_extra
    from edgeseg.models.opening import precheck

    quiet_native_logs()
    if model is None:
        raise click.UsageError("Missing argument 'MODEL': a zoo name or a file. Or give a --recipe or --resume RUN.")
    try:
        settings = _recipes.completed(settings)
        with _recipes.explained():
            precheck(model, settings["input_size"], settings["model_options"])
            config = TrainConfig(model=model, data=data.plain, **settings)
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg train", "train") from error
    folder = _folder(output_dir, run)
    # A mistake in the settings, the folder or the data is reported before keras is imported.
    run.check(folder)
    splits: dict[str, Any] = {"val_fraction": config.val_fraction, "validate": config.validate}
    if checks:
        read = splits_of_training(data, **splits)
        with progress("checking the data") as update:
            findings = check(data, splits=read, progress=update)
        check_again = f"edgeseg data check {data.typed}"
        require_good(findings, "nothing was trained. Fix the files, or give --no-check", tell, check=check_again)
        for warning in findings.warnings:
            tell(f"edgeseg: {warning.text}")
    else:
        training_splits(data, **splits)
    try:
        from edgeseg.training.fit import train
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg train", "train") from error
    if output_dir is None:
        note(f"run: {folder}")
    before = _written(folder)
    try:
        with progress_of_steps("building the model") as update:
            result = train(config, folder, replace(run, progress=update), custom_objects=custom_objects)
    except KeyboardInterrupt:
        written = _written(folder)
        if written is not None and (run.resume or written != before):
            note(f"edgeseg: '{folder}' has the finished epochs; it goes on with: {_resume_command(folder)}")
        raise
    if as_json:
        best = {
            "exported": str(result.exported),
            "best": None if result.best is None else str(result.best),
            "best_epoch": result.best_epoch,
            "best_mean_iou": result.best_mean_iou,
        }
        print_json({"format_version": 1, **best, "history": result.history})
        return
    if result.best is None:
        say(f"{result.exported}  epoch {len(result.history)}, the last; nothing was validated: no best one is known")
    else:
        say(f"{result.exported}  val mIoU {result.best_mean_iou:.4f} (epoch {result.best_epoch})")
    say(f"Next: {_next_commands(result.exported, data, custom_objects)}")


def _folder(output_dir: Path | None, run: RunOptions) -> Path:
    """Return the folder of the run: as typed, the one that is resumed, or a new one."""
    resumed = _recipes.place_of_run()
    if resumed is not None:
        if output_dir is not None and output_dir.absolute() != resumed.absolute():
            raise click.UsageError(f"--resume {resumed} continues in that folder: omit --output-dir {output_dir}.")
        return resumed
    if output_dir is not None:
        return output_dir
    if run.resume:
        latest = latest_place("train", LAST)
        if latest is None:
            raise InputError(f"there is nothing to resume in {RUNS / 'train'}: type --resume RUN, the run's folder.")
        return latest
    if run.distribute == "workers":
        raise click.UsageError("--distribute workers needs --output-dir: each worker must name the same folder.")
    return free_place("train")


def _resume_command(folder: Path) -> str:
    return f"edgeseg train --resume {shlex.quote(str(folder))}"


def _next_commands(model: Path, data: DataSource, custom_objects: str | None) -> str:
    """Return the commands that score and export a trained model, on splits that the data has."""
    from edgeseg.datasets.source import find_data
    from edgeseg.datasets.splitting import source_split

    again = f"--data {data.typed}"
    if custom_objects is not None:
        again += f" --custom-objects {shlex.quote(custom_objects)}"
    dataset, file = find_data(data)[0], shlex.quote(str(model))
    export = f"edgeseg export {file} {again}"
    held_out = [name for name in ("test", "val") if name in dataset.splits]
    if "val" not in held_out:  # which export measures on by itself
        export += f" --split {held_out[0] if held_out else source_split(dataset)}"
    if not held_out:
        return export
    return f"edgeseg evaluate {file} {again}{'' if held_out[0] == 'test' else ' --split val'}  |  {export}"


def _written(folder: Path) -> int | None:
    """Return when the last epoch of a run in the folder was written; ``None`` where there is none."""
    last = folder / LAST
    return last.stat().st_mtime_ns if last.exists() else None
