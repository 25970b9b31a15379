"""``edgeseg train``: a zoo model on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, progress, quiet_native_logs

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource


@click.command("train")
@click.argument("model")
@_options.dataset(help="Labelled data set with train and val.")
@click.option("--output-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: runs/MODEL.")
@click.option("--imgsz", "input_size", type=_options.SizeType(), help="Size the model is made for and validated at.")
@click.option("--crop-size", type=_options.SizeType(), help="Size of the training crops; --imgsz when left out.")
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--learning-rate", type=float, default=2e-3, show_default=True, help="Peak; cosine to zero.")
@click.option("--warmup-epochs", type=click.IntRange(0), default=2, show_default=True)
@click.option("--weight-decay", type=float, default=0.02, show_default=True)
@click.option("--scale", type=(float, float), default=(0.6, 1.6), show_default=True, help="Augmentation scale.")
@click.option(
    "--class-weights",
    type=click.Choice(["none", "sqrt-median-frequency"]),
    default="sqrt-median-frequency",
    show_default=True,
)
@click.option("--batch-norm-momentum", type=click.FloatRange(0, 1, max_open=True), default=0.9, show_default=True)
@click.option("--encoder-weights", type=click.Choice(["none", "imagenet"]), default="none", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Go on where a killed run of the same settings stopped.")
@click.option("--check/--no-check", "checks", default=True, help="Read all files first; stop where one is bad.")
@_options.overwrite
@_options.as_json
def command(
    model: str,
    data: DataSource,
    output_dir: Path | None,
    resume: bool,
    checks: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train MODEL (a zoo name); best.keras is ready for export, last.keras for --resume."""
    from edgeseg.datasets import open_split
    from edgeseg.datasets.check import check
    from edgeseg.datasets.findings import require_good
    from edgeseg.errors import missing_extra
    from edgeseg.models.zoo import find

    quiet_native_logs()
    find(model)
    # A mistake in the data is said before keras is imported.
    if checks:
        with progress("checking the data") as update:
            found = check(data, splits=("train", "val"), progress=update)
        require_good(found, "nothing was trained", note)
        for warning in found.warnings:
            note(f"edgeseg: {warning.text}")
    else:
        open_split(data, "train")
    try:
        from edgeseg.training.config import TrainConfig
        from edgeseg.training.fit import train
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg train", "train") from error
    folder = output_dir or Path("runs") / model
    result = train(
        TrainConfig(model=model, data=data.plain, **settings), folder, resume=resume, overwrite=overwrite, log=note
    )
    if as_json:
        best = {"best": str(result.best), "best_epoch": result.best_epoch, "best_mean_iou": result.best_mean_iou}
        print_json({"format_version": 1, **best, "history": list(result.history)})
        return
    print(f"{result.best}  val mIoU {result.best_mean_iou:.4f} (epoch {result.best_epoch})")
    print(f"Next: edgeseg evaluate {result.best} --data {data.root}  |  edgeseg export {result.best}")
