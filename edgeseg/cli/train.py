"""``edgeseg train``: a model of the zoo, or one's own, on a labeled data set."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeseg.cli import _options
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._terminal import note, print_json, progress, quiet_native_logs
from edgeseg.training.run.folder import LAST

if TYPE_CHECKING:
    from edgeseg.choices import Distribute
    from edgeseg.datasets import DataSource

_FREQUENCY_WEIGHTS = ("none", "median-frequency", "sqrt-median-frequency")
_LOSSES = ("cross-entropy", "focal", "dice", "cross-entropy+dice", "focal+dice")
#: Options that are fields of ``Augmentation``.
_AUGMENTATION = (
    "scale", "aspect", "rotate", "rotate_degrees", "elastic", "flip", "flip_vertical", "blur", "brightness", "contrast",
    "hsv",
)  # fmt: skip


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Data": (
            "data", "classes", "data_layout", "label_encoding", "ignore_index", "color_map", "checks",
        ),
        "Model": (
            "input_size", "crop_size", "weights", "encoder_weights", "custom_objects", "output", "mean", "std",
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
            "loss", "class_weights", "label_smoothing", "focal_alpha", "focal_gamma", "dice_beta", "dice_smooth",
            "output_weights",
        ),
        "Augmentation": ("augmentation", *_AUGMENTATION),
        "Batch norm": ("batch_norm_momentum", "batch_norm_recalibration"),
        "Run": (
            "output_dir", "resume", "early_stopping", "samples", "tensorboard", "distribute", "seed", "overwrite",
            "as_json",
        ),
    }  # fmt: skip


class _ClassWeightsType(click.ParamType[Any]):
    """A word for weights from the data, or a number for each class."""

    name = "|".join((*_FREQUENCY_WEIGHTS, "W0,W1,..."))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in _FREQUENCY_WEIGHTS:
            return value
        return _NumbersType().convert(value, param, ctx)


class _NumbersType(click.ParamType[tuple[float, ...]]):
    """``0.5,1,2``."""

    name = "X,Y,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(number) for number in str(value).split(","))
        except ValueError:
            words = f"{', '.join(_FREQUENCY_WEIGHTS)} or " if param and param.name == "class_weights" else ""
            self.fail(f"'{value}' is not accepted; give {words}numbers with commas between.", param, ctx)


_POSITIVE = click.FloatRange(0, min_open=True)
_SHARE = click.FloatRange(0, 1)
_BELOW_1 = click.FloatRange(0, 1, max_open=True)


@click.command("train", cls=_Command)
@click.argument("model")
@_options.dataset(help="Labeled data set with train and val.")
@click.option("--check/--no-check", "checks", default=True, help="Read all files first; stop where one is bad.")
@click.option("--imgsz", "input_size", type=_options.SizeType(), help="Size the model is made for and validated at.")
@click.option("--crop-size", type=_options.SizeType(), help="Size of the training images; --imgsz when left out.")
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False),
    help="Weights file a zoo model starts from; its head may differ.",
)
@click.option("--encoder-weights", type=click.Choice(["none", "imagenet"]), default="none", show_default=True)
@_options.custom_objects
@_options.output
@_options.feeding
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True, help="In all, with the frozen ones.")
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Times each training image is used in an epoch; more where there are few, large ones.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "adam", "sgd"]),
    default="adamw",
    show_default=True,
    help="sgd is with Nesterov's momentum.",
)
@click.option("--learning-rate", type=_POSITIVE, help="Peak. Left out: adamw 2e-3, adam 5e-4, sgd 7e-3.")
@click.option(
    "--nominal-batch-size",
    type=click.IntRange(1),
    help="The learning rate is for this batch size and scaled to the real one; the tutorials' is 16.",
)
@click.option("--momentum", type=_BELOW_1, default=0.9, show_default=True, help="Of sgd; adam's beta_1.")
@click.option("--weight-decay", type=click.FloatRange(0), help="Left out: adamw 0.02, adam 0, sgd 1e-4.")
@click.option("--clipnorm", type=_POSITIVE, help="Largest norm of the gradient of each variable.")
@click.option("--global-clipnorm", type=_POSITIVE, help="Largest norm of all gradients together.")
@click.option("--ema", type=_BELOW_1, help="Momentum of a moving average of the weights, which is what is exported.")
@click.option(
    "--mixed-precision", type=click.Choice(["float16", "bfloat16"]), help="Compute in it, keep weights in float32."
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "step", "exponential", "constant"]),
    default="cosine",
    show_default=True,
    help="After the warm-up.",
)
@click.option("--warmup-epochs", type=click.IntRange(0), help="Left out: 2, fewer in a run of 1 or 2 epochs.")
@click.option(
    "--warmup",
    type=click.Choice(["linear", "staircase"]),
    default="linear",
    show_default=True,
    help="With every step, or with every epoch.",
)
@click.option("--final-learning-rate", type=_BELOW_1, help="Share of the peak. Left out: cosine 0, step 0.01.")
@click.option(
    "--decay-rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.96,
    show_default=True,
    help="Of exponential, each epoch.",
)
@click.option(
    "--freeze-epochs",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="First epochs, in which only the decoder learns.",
)
@click.option("--freeze-batch-size", type=click.IntRange(1), help="In the frozen epochs. Left out: --batch-size.")
@click.option("--freeze-learning-rate", type=_POSITIVE, help="In the frozen epochs. Left out: --learning-rate.")
@click.option("--freeze-before", metavar="LAYER", help="First layer after the encoder; known for the zoo.")
@click.option("--loss", type=click.Choice(_LOSSES), default="cross-entropy", show_default=True)
@click.option("--class-weights", type=_ClassWeightsType(), default="sqrt-median-frequency", show_default=True)
@click.option("--label-smoothing", type=_BELOW_1, default=0.0, show_default=True)
@click.option("--focal-alpha", type=_POSITIVE, default=0.5, show_default=True)
@click.option("--focal-gamma", type=click.FloatRange(0), default=2.0, show_default=True)
@click.option("--dice-beta", type=_POSITIVE, default=1.0, show_default=True)
@click.option("--dice-smooth", type=_POSITIVE, default=1e-5, show_default=True)
@click.option("--output-weights", type=_NumbersType(), help="Of each output's loss, of a model with several.")
@click.option(
    "--augmentation",
    type=click.Choice(["crop", "tutorial"]),
    default="crop",
    show_default=True,
    help="Random pieces of images, or whole ones jittered on gray; the options below change it.",
)
@click.option("--scale", type=(float, float), metavar="LOW HIGH", help="Smallest and largest.")
@click.option("--aspect", type=_BELOW_1, help="Jitter of width to height.")
@click.option("--rotate", type=_SHARE, help="Probability of a rotation.")
@click.option("--rotate-degrees", type=click.FloatRange(0, 180), help="Largest angle.")
@click.option(
    "--elastic", type=click.FloatRange(0), metavar="PIXELS", help="Standard deviation of smooth random displacements."
)
@click.option("--flip", type=_SHARE, help="Probability of a left-right flip.")
@click.option("--flip-vertical", type=_SHARE, help="Probability of an upside-down flip.")
@click.option("--blur", type=_SHARE, help="Probability of a Gaussian blur.")
@click.option("--brightness", type=_SHARE, help="Largest change.")
@click.option("--contrast", type=_SHARE, help="Largest relative change.")
@click.option("--hsv", type=(float, float, float), metavar="H S V", help="Largest changes.")
@click.option("--batch-norm-momentum", type=_BELOW_1, default=0.9, show_default=True, help="Of the moving averages.")
@click.option(
    "--batch-norm-recalibration",
    type=click.IntRange(0),
    metavar="N",
    help="Training images to compute the statistics from before each validation, in place of moving averages. "
    "Left out: 64 with --ema, else 0.",
)
@click.option("--output-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: runs/MODEL.")
@click.option("--resume", is_flag=True, help="Go on where a killed run of the same settings stopped.")
@click.option("--early-stopping", type=click.IntRange(1), metavar="N", help="End after N epochs without a better mIoU.")
@click.option("--samples", type=click.IntRange(0), default=4, show_default=True, help="Images to draw predictions of.")
@click.option("--tensorboard", is_flag=True, help="Write a log for it.")
@click.option(
    "--distribute",
    type=click.Choice(["none", "auto", "workers"]),
    default="none",
    show_default=True,
    help="Share each batch among the GPUs of this machine (auto); or with other processes (workers; needs "
    "KERAS_BACKEND=jax, and Keras' KERAS_DISTRIBUTION_* variables in each).",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@_options.overwrite
@_options.as_json
def command(
    model: str,
    data: DataSource,
    checks: bool,
    custom_objects: str | None,
    output: str | None,
    output_dir: Path | None,
    resume: bool,
    samples: int,
    tensorboard: bool,
    distribute: Distribute,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train MODEL (a zoo name, or a .keras or .h5 file); best.keras is ready for export, last.keras for --resume.

    Runs on the Keras backend that KERAS_BACKEND names: tensorflow, or jax.
    """
    from edgeseg.datasets import open_split
    from edgeseg.datasets.check import check
    from edgeseg.datasets.findings import require_good
    from edgeseg.datasets.source import find_data
    from edgeseg.errors import missing_extra
    from edgeseg.models.opening import precheck

    quiet_native_logs()
    changes = {name: settings.pop(name) for name in _AUGMENTATION}
    try:
        precheck(model, settings["input_size"])
        from edgeseg.training.config import TrainConfig
        from edgeseg.training.options import RunOptions
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg train", "train") from error
    config = TrainConfig(
        model=model,
        data=data.plain,
        main_output=output,
        augmentation_changes={name: value for name, value in changes.items() if value is not None},
        **settings,
    )
    folder = output_dir or Path("runs") / Path(model).stem
    # A mistake in the settings, the folder or the data is said before keras is imported.
    options = RunOptions(
        resume=resume, overwrite=overwrite, samples=samples, tensorboard=tensorboard, distribute=distribute, log=note
    )
    options.check(folder)
    if checks:
        with progress("checking the data") as update:
            found = check(data, splits=("train", "val"), progress=update)
        require_good(found, "nothing was trained", note)
        for warning in found.warnings:
            note(f"edgeseg: {warning.text}")
    else:
        open_split(data, "train")
    try:
        from edgeseg.training.fit import train
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg train", "train") from error
    before = _written(folder)
    try:
        result = train(config, folder, options, custom_objects=_options.read_custom_objects(custom_objects))
    except KeyboardInterrupt:
        written = _written(folder)
        if written is not None and (resume or written != before):
            note(f"edgeseg: '{folder}' has the epochs that are done; the same command with --resume goes on.")
        raise
    if as_json:
        best = {"best": str(result.best), "best_epoch": result.best_epoch, "best_mean_iou": result.best_mean_iou}
        print_json({"format_version": 1, **best, "history": result.history})
        return
    print(f"{result.best}  val mIoU {result.best_mean_iou:.4f} (epoch {result.best_epoch})")
    again = _options.data_arguments(data)
    if custom_objects is not None:
        again += f" --custom-objects {shlex.quote(custom_objects)}"
    split = "" if "test" in find_data(data)[0].splits else " --split val"
    best_file = shlex.quote(str(result.best))
    print(f"Next: edgeseg evaluate {best_file} {again}{split}  |  edgeseg export {best_file} {again}")


def _written(folder: Path) -> int | None:
    """When the last epoch of a run in the folder was written; ``None`` where there is none."""
    last = folder / LAST
    return last.stat().st_mtime_ns if last.exists() else None
