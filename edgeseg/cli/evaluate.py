"""Score a Keras model or an artifact on a labeled split (``edgeseg evaluate``)."""

from __future__ import annotations

import dataclasses
import math
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeseg._internal.text import counted
from edgeseg.cli import _artifacts, _batch, _completion, _options, _tiles
from edgeseg.cli._fields import collect
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_table, progress_of_steps, quiet_native_logs, say

if TYPE_CHECKING:
    from edgeseg.cli._options import KerasFile, Results
    from edgeseg.datasets import Classes, DataSource
    from edgeseg.evaluation.evaluate import EvaluationResult
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.segmenter import Segmenter


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Data": (*_options.DATASET, "split"),
        "Large images": _tiles.TILES,
        "Keras model": ("custom_objects", "output", "model_options"),
        "Many images": _batch.MANY,
        "Runtime": _options.RUNTIME,
        "Model without spec": _options.INPUT_DESCRIPTION,
        "Results": ("save", *_options.RESULTS),
    }


@dataclass(frozen=True)
class _Scored:
    """What is scored, and whether by windows."""

    split: str
    tiles: bool
    overlap: int | None

    def __post_init__(self) -> None:
        _ = self.tile_options  # refuses an overlap alone

    @property
    def tile_options(self) -> _tiles.TileOptions:
        """How images are cut into windows."""
        return _tiles.TileOptions(self.tiles, self.overlap)


@click.command(
    "evaluate",
    cls=_Command,
    help=help_of(
        "evaluate",
        f"{_artifacts.HELP} With --backend keras a packaged name is its Keras model. Scored at the labels' own size.",
    ),
)
@click.argument("model", metavar="[ARTIFACT]", required=False, shell_complete=_completion.artifacts)
@_options.dataset(required=True)
@collect(
    "scored",
    _Scored,
    click.option("--split", default="test", show_default=True, help="Split to score on."),
    *_tiles.TILES_OPTIONS,
)
@_options.keras_file
@_options.runtime
@_options.input_description
@collect(
    "scoring",
    _batch.Scoring,
    *_batch.OPTIONS,
    click.option(
        "--save",
        type=_options.PlaceType(),
        metavar="DIR|URL",
        help="Folder, here or in a store, for confusion_matrix.csv and .png and per_class.csv.",
    ),
)
@_options.results
def command(
    model: str | None,
    data: DataSource,
    scored: _Scored,
    keras_file: KerasFile,
    runtime: RuntimeOptions,
    description: InputDescription,
    scoring: _batch.Scoring,
    results: Results,
) -> int:
    """Run ``edgeseg evaluate``."""
    from edgeseg.datasets import open_split
    from edgeseg.evaluation.evaluate import evaluate

    quiet_native_logs()
    done: _batch.Done | None = None
    with ExitStack() as held:
        plan = None
        if scoring.asked([data.root, str(scoring.save or "")]):
            model = _artifacts.artifact_or_default(model)
            opened_by = runtime, description
            plan = held.enter_context(
                scoring.plan_of(model, opened_by, scored.tile_options, overwrite=results.overwrite)
            )
        # A run that goes on writes the scores of all images in place of those of some.
        overwrite = results.overwrite or (plan is not None and plan.manifest.exists())
        save = None
        if scoring.save is not None:
            save = held.enter_context(_batch.scores_in(scoring.save, overwrite=overwrite))
        if plan is not None:
            assert model is not None
            opener = partial(_open, model, keras_file, runtime, description)
            result, done = _batch.evaluate(opener, data, scored.split, plan, scored.tile_options)
        else:
            dataset = open_split(data, scored.split)
            model = _artifacts.artifact_or_default(model)
            with (
                progress_of_steps(f"opening {model}") as update,
                _open(model, keras_file, runtime, description, dataset.classes) as segmenter,
            ):
                result = evaluate(
                    segmenter,
                    dataset,
                    tiles=scored.tiles,
                    overlap=scored.overlap,
                    progress=partial(update, f"evaluating {model}"),
                )
        if save is not None:
            note(f"saved: {', '.join(save(result, f'{model} on {data.name}/{scored.split}'))}")
    if results.as_json:
        told = {} if done is None else done.told
        print_json({"format_version": 1, "artifact": Path(model).name, **result.to_dict(), **told})
    else:
        part = "" if scoring.shard is None else f" of shard {scoring.shard}"
        images = f"{counted(result.num_images, 'image')}{part}"
        _print_scores(result, f"{model} on {data.name}/{scored.split}, {images}")
    return 0 if done is None else done.show()


def _open(
    model: str, keras_file: KerasFile, runtime: RuntimeOptions, description: InputDescription, classes: Classes
) -> Segmenter:
    """Open an artifact, or a Keras model, for data of some classes."""
    from edgeseg.errors import InputError
    from edgeseg.models.opening import ModelRequest, load_model
    from edgeseg.models.packaged_files import PACKAGED, find_file, is_packaged_name
    from edgeseg.models.zoo.table import find
    from edgeseg.opening import open_segmenter, segmenter_of
    from edgeseg.runtime import SUFFIXES, RuntimeOptions

    if "keras" not in (SUFFIXES.get(Path(model).suffix.lower()), runtime.backend):
        given = {
            "--custom-objects": keras_file.custom_objects,
            "--output": keras_file.output,
            "--model-option": keras_file.model_options or None,
        }
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} goes with a Keras model; '{model}' is a finished file.")
        return open_segmenter(model, runtime, description, classes=classes.names)
    size = description.input_size
    if is_packaged_name(model):
        find_file(model)  # refuses an architecture without packaged weights
        if "." in model:
            raise InputError(f"'{model}' is a finished file; --backend keras goes with {model.partition('.')[0]}.")
        packaged = PACKAGED[model]
        model, size = packaged.architecture, description.input_size or packaged.input_size
    elif not Path(model).suffix:
        find(model)
    if dataclasses.replace(runtime, num_threads=None) not in (RuntimeOptions(), RuntimeOptions(backend="keras")):
        raise InputError(f"'{model}' runs on Keras: what a file runs on is for exported files.")
    if description.class_names:
        raise InputError("--labels is for exported files without ModelSpec.")
    from edgeseg.models.preprocessing import warn_of_faint_images
    from edgeseg.runtime.keras import KerasBackend, set_threads

    if runtime.num_threads is not None:
        set_threads(runtime.num_threads)
    objects = _options.read_custom_objects(keras_file.custom_objects)
    opened = load_model(
        model,
        ModelRequest(
            input_size=size,
            classes=classes,
            mean=description.mean,
            std=description.std,
            **description.feeding,
            custom_objects=objects,
            output=keras_file.output,
            model_options=keras_file.model_options,
        ),
    )
    warn_of_faint_images(opened.model, opened.spec)
    backend = KerasBackend(opened.model, opened.spec)
    return segmenter_of(model, backend, opened.spec, threshold=description.threshold)


def _print_scores(result: EvaluationResult, title: str) -> None:
    """Print a row for each class, below it the means, and below them the scores of all pixels together."""
    columns = list(result.per_class.values())
    rows = [[name, *(_figure(scores[name]) for scores in columns)] for name in result.class_names]
    means = result.means
    rows.append(["mean", *(_figure(means[key]) for key in ("mean_iou", "mean_precision", "mean_recall")), ""])
    print_table(["Class", ">IoU", ">Precision", ">Recall", ">F-score"], rows, title=title)
    say(
        f"mIoU {_figure(means['mean_iou'])}  mPA {_figure(means['mean_pixel_accuracy'])}  "
        f"pixel accuracy {_figure(means['pixel_accuracy'])}  "
        f"frequency-weighted IoU {_figure(means['frequency_weighted_iou'])}"
    )
    if result.nearest is not None and not math.isnan(means["mean_iou"]):
        nearest = result.nearest.mean_iou
        say(
            f"mIoU {_figure(nearest)} of a class map, enlarged by nearest neighbor: enlarging the scores is worth "
            f"{100 * (means['mean_iou'] - nearest):+.2f} points"
        )


def _figure(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.4f}"
