"""``edgeseg evaluate``: mIoU of a Keras model or an artifact on a labelled split."""

from __future__ import annotations

from pathlib import Path

import click

from edgeseg.cli import _options
from edgeseg.cli._terminal import print_json, print_table, progress, quiet_native_logs


@click.command("evaluate")
@click.argument("model")
@click.option(
    "--data", required=True, type=click.Path(), help="Labelled data set: {split}/{images,labels}, classes.json."
)
@click.option("--split", default="test", show_default=True)
@_options.num_threads
@_options.as_json
def command(model: str, data: str, split: str, num_threads: int | None, as_json: bool) -> None:
    """Score MODEL (.tflite, .onnx, .keras, or a zoo name with packaged weights) at the labels' own size."""
    from edgeseg.dataset import open_folder
    from edgeseg.evaluation import evaluate
    from edgeseg.models.source import open_model
    from edgeseg.models.zoo import find
    from edgeseg.segmenter import Segmenter

    quiet_native_logs()
    dataset = open_folder(data, split)
    if Path(model).suffix:
        segmenter = Segmenter(model, num_threads=num_threads)
    else:
        find(model)
        from edgeseg.runtime.keras import KerasBackend

        opened = open_model(model)
        segmenter = Segmenter(KerasBackend(opened.model, opened.spec))
    with segmenter, progress(f"evaluating {model}") as update:
        result = evaluate(segmenter, dataset, progress=update)
    if as_json:
        print_json(result.to_dict())
        return
    rows = [[name, f"{iou:.4f}"] for name, iou in result.per_class_iou.items()]
    rows += [["mean IoU", f"{result.mean_iou:.4f}"], ["pixel accuracy", f"{result.pixel_accuracy:.4f}"]]
    print_table(["Class", ">IoU"], rows, title=f"{model} on {Path(data).name}/{split}, {result.num_images} images")
