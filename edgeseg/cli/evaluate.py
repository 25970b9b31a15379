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
@_options.custom_objects
@_options.imgsz
@_options.feeding
@_options.output
@_options.num_threads
@_options.as_json
def command(
    model: str,
    data: str,
    split: str,
    custom_objects: str | None,
    imgsz: tuple[int, int] | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    output: str | None,
    num_threads: int | None,
    as_json: bool,
) -> None:
    """Score MODEL (.tflite, .onnx, .keras, .h5, or a zoo name with packaged weights) at the labels' own size."""
    from edgeseg.dataset import open_folder
    from edgeseg.errors import InputError
    from edgeseg.evaluation import evaluate
    from edgeseg.models.source import open_model
    from edgeseg.models.zoo import find
    from edgeseg.runtime import SUFFIXES
    from edgeseg.segmenter import Segmenter

    quiet_native_logs()
    dataset = open_folder(data, split)
    suffix = Path(model).suffix.lower()
    if suffix and SUFFIXES.get(suffix) != "keras":
        given = {"--custom-objects": custom_objects, "--imgsz": imgsz, "--mean": mean, "--std": std, "--output": output}
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} goes with a Keras model; '{model}' says itself how to feed it.")
        segmenter = Segmenter(model, num_threads=num_threads)
    else:
        if not suffix:
            find(model)
        objects = _options.read_custom_objects(custom_objects)
        opened = open_model(
            model,
            input_size=imgsz,
            classes=dataset.classes,
            mean=mean,
            std=std,
            custom_objects=objects,
            output=output,
        )
        from edgeseg.runtime.keras import KerasBackend

        segmenter = Segmenter(KerasBackend(opened.model, opened.spec))
    with segmenter, progress(f"evaluating {model}") as update:
        result = evaluate(segmenter, dataset, progress=update)
    if as_json:
        print_json(result.to_dict())
        return
    rows = [[name, f"{iou:.4f}"] for name, iou in result.per_class_iou.items()]
    rows += [["mean IoU", f"{result.mean_iou:.4f}"], ["pixel accuracy", f"{result.pixel_accuracy:.4f}"]]
    print_table(["Class", ">IoU"], rows, title=f"{model} on {Path(data).name}/{split}, {result.num_images} images")
