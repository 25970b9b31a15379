"""``edgeseg evaluate``: the scores of a Keras model or an artifact on a labeled split."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, print_table, progress, quiet_native_logs

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource
    from edgeseg.evaluation.evaluate import EvaluationResult
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions


@click.command("evaluate")
@click.argument("model")
@_options.dataset(required=True)
@click.option("--split", default="test", show_default=True)
@_options.custom_objects
@_options.output
@_options.runtime
@_options.foreign
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for confusion_matrix.csv and .png and per_class.csv.",
)
@_options.overwrite
@_options.as_json
def command(
    model: str,
    data: DataSource,
    split: str,
    custom_objects: str | None,
    output: str | None,
    runtime: RuntimeOptions,
    feeding: InputDescription,
    save: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Score MODEL (.tflite, .onnx, .keras, .h5, or a zoo name with packaged weights) at the labels' own size."""
    from edgeseg.datasets import open_split
    from edgeseg.errors import InputError
    from edgeseg.evaluation.evaluate import evaluate
    from edgeseg.evaluation.files import require_room, save_evaluation
    from edgeseg.models.opening import ModelRequest, open_model
    from edgeseg.models.zoo.table import find
    from edgeseg.opening import open_segmenter
    from edgeseg.runtime import SUFFIXES, RuntimeOptions
    from edgeseg.segmenter import Segmenter

    quiet_native_logs()
    if save is not None:
        require_room(save, overwrite=overwrite)
    dataset = open_split(data, split)
    suffix = Path(model).suffix.lower()
    if suffix and SUFFIXES.get(suffix) != "keras":
        for option, value in {"--custom-objects": custom_objects, "--output": output}.items():
            if value is not None:
                raise InputError(f"{option} goes with a Keras model; '{model}' says itself how to feed it.")
        segmenter = open_segmenter(model, runtime, feeding, classes=dataset.classes.names)
    else:
        if not suffix:
            find(model)
        if dataclasses.replace(runtime, num_threads=None) not in (RuntimeOptions(), RuntimeOptions(backend="keras")):
            raise InputError(f"'{model}' runs on Keras: what a file runs on is for .tflite and .onnx files.")
        if feeding.class_names or feeding.color_order or feeding.fit:
            raise InputError("--labels, --color-order and --fit are for .tflite and .onnx files without ModelSpec.")
        from edgeseg.runtime.keras import KerasBackend, set_threads

        if runtime.num_threads is not None:
            set_threads(runtime.num_threads)
        objects = _options.read_custom_objects(custom_objects)
        opened = open_model(
            model,
            ModelRequest(
                input_size=feeding.input_size,
                classes=dataset.classes,
                mean=feeding.mean,
                std=feeding.std,
                custom_objects=objects,
                output=output,
            ),
        )
        segmenter = Segmenter(KerasBackend(opened.model, opened.spec))
    with segmenter, progress(f"evaluating {model}") as update:
        result = evaluate(segmenter, dataset, progress=update)
    if save is not None:
        saved = save_evaluation(result, save, title=f"{model} on {data.name}/{split}", overwrite=overwrite)
        note(f"saved: {', '.join(map(str, saved))}")
    if as_json:
        print_json({"format_version": 1, "artifact": Path(model).name, **result.to_dict()})
        return
    _print_scores(result, f"{model} on {data.name}/{split}, {result.num_images} images")


def _print_scores(result: EvaluationResult, title: str) -> None:
    """A row for each class, the means below, and what is of all pixels together below that."""
    columns = list(result.per_class.values())
    rows = [[name, *(_figure(scores[name]) for scores in columns)] for name in result.class_names]
    means = result.means
    rows.append(["mean", *(_figure(means[key]) for key in ("mean_iou", "mean_precision", "mean_recall")), ""])
    print_table(["Class", ">IoU", ">Precision", ">Recall", ">F-score"], rows, title=title)
    print(
        f"mIoU {_figure(means['mean_iou'])}  mPA {_figure(means['mean_pixel_accuracy'])}  "
        f"pixel accuracy {_figure(means['pixel_accuracy'])}  "
        f"frequency-weighted IoU {_figure(means['frequency_weighted_iou'])}"
    )


def _figure(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.4f}"
