"""Run ``predict`` and ``evaluate`` on many images: the options, and what is printed at the end.

A run is one of many images where it is asked for by an option, a list or an object store; without, the commands read
one image after the other as they always have.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeseg._internal.text import counted
from edgeseg.cli import _artifacts, _options
from edgeseg.cli._fields import collect
from edgeseg.cli._saving import free_place
from edgeseg.cli._terminal import note, print_json, print_table, progress, quiet_native_logs
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.batch.run import Outcome, Plan
    from edgeseg.batch.shard import Shard
    from edgeseg.batch.storage import Place
    from edgeseg.batch.work import Work
    from edgeseg.cli._options import Results
    from edgeseg.cli._tiles import TileOptions
    from edgeseg.datasets import Classes, DataSource
    from edgeseg.evaluation.evaluate import EvaluationResult
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.segmenter import Segmenter

F = TypeVar("F", bound=Callable[..., Any])

#: The parameters of ``many``, for a command's headings.
MANY = ("jobs", "shard", "ray", "records")


@dataclass(frozen=True, kw_only=True)
class Many:
    """What is asked of a run of many images."""

    jobs: int | None
    shard: str | None
    ray: str | None
    records: Place | None

    def asked(self, places: Sequence[str] = ()) -> bool:
        """Return whether it is a run of many images: by an option, or a list or an object store among the places."""
        options = (self.jobs, self.shard, self.ray, self.records)
        return any(value is not None for value in options) or any(map(_is_many, places))

    @contextmanager
    def plan(
        self, place: Place, settings: dict[str, str], runtime: RuntimeOptions, *, overwrite: bool
    ) -> Iterator[Plan]:
        """Yield where and on what the images are done; the block has the folder, which may be a copy of a store's."""
        from edgeseg.batch.mirror import mirrored
        from edgeseg.batch.pool import default_jobs
        from edgeseg.batch.ray_pipeline import Cluster
        from edgeseg.batch.run import Plan
        from edgeseg.batch.shard import Shard

        threads, on_gpu = runtime.num_threads or 1, _on_gpu(runtime)
        cluster = None
        if self.ray is not None:
            cluster = Cluster(address=self.ray, actors=self.jobs, num_threads=threads, num_gpus=int(on_gpu))
        plan = Plan(
            folder=Path(place),
            settings=settings,
            shard=Shard() if self.shard is None else Shard.parse(self.shard),
            jobs=self.jobs or (1 if on_gpu else default_jobs(threads)),
            cluster=cluster,
            overwrite=overwrite,
            setup=quiet_native_logs,
        )
        if isinstance(place, Path):
            yield plan
            return
        with mirrored(place) as mirror:
            mirror.fetch(plan.manifest.name, overwrite=overwrite)
            yield dataclasses.replace(plan, folder=mirror.folder, mirror=mirror)


def _is_many(source: str) -> bool:
    if source.startswith("@"):
        return True
    scheme, slashes, _ = source.partition("://")
    if not slashes:
        return False
    from edgeseg.batch.storage import WRITABLE

    return scheme.lower() in WRITABLE  # HTTP addresses, which are not, may be videos


#: The options of ``Many``.
OPTIONS = (
    click.option(
        "--jobs",
        type=click.IntRange(1, 1024),
        help="Processes that do many images, or actors of Ray.",
        show_default="the cores by --num-threads, which is then 1",
    ),
    click.option("--shard", metavar="K/N", help="Do the K-th of N parts of the images, by a hash of their names."),
    click.option(
        "--ray", metavar="local|ADDRESS", help="Do the images with Ray Data, on this machine or a running cluster."
    ),
    click.option(
        "--records",
        type=_options.PlaceType(),
        metavar="DIR|URL",
        help="Folder for the manifest and the tables, here or in a store; a run that was killed goes on there.",
        show_default="that of --save",
    ),
)


def many(function: F) -> F:
    """Add the options about many images, as one argument ``many``, a ``Many``."""
    return collect("many", Many, *OPTIONS)(function)


def predict(
    arguments: Sequence[str],
    many: Many,
    drawing: Any,
    model: tuple[RuntimeOptions, InputDescription],
    tiles: TileOptions,
    *,
    count: bool,
    results: Results,
) -> int:
    """Run ``edgeseg predict`` on many images.

    Args:
        arguments: the artifact, where it is given, and the sources.
        many: how they are done.
        drawing: what ``--save`` and ``--visualize`` ask for.
        model: the runtime and the description of the model.
        tiles: how images are cut into windows.
        count: whether to print the pixels of each class in all images.
        results: how the result is told.

    Returns:
        The exit status.
    """
    from edgeseg.batch.listing import Images
    from edgeseg.batch.work import Prediction

    folder = None if drawing.save is None else _folder(drawing.save)
    place = many.records or folder or free_place("predict")
    chosen, sources = _artifacts.split_sources(arguments)
    artifact = _artifacts.artifact_or_default(chosen)
    runtime, description = model
    runtime = dataclasses.replace(runtime, num_threads=runtime.num_threads or 1)
    views = drawing.views if folder is not None else ()
    settings = {
        **_settings("predict", artifact, runtime, description),
        "tiles": str(tiles),
        "views": ", ".join(views) or "none",
        "look": repr(drawing.look) if views else "none",
    }
    opener = functools.partial(_opened, artifact, runtime, description, drawing if views else None)
    work = Prediction(opener=opener, segment=tiles.segment, folder=folder, views=views, draw=drawing.draw)
    with many.plan(place, settings, runtime, overwrite=results.overwrite) as plan:
        done = _run(work, Images(sources, plan.shard), plan, "counts")
        if results.as_json:
            told = {"num_images": done.outcome.num_images, **done.told}
            print_json({"format_version": 1, "artifact": artifact, **told})
        elif count:
            _show_totals(done.outcome)
    return done.show()


def _folder(save: str) -> Place:
    """Return the folder that ``--save`` names; refuse a file."""
    from edgeseg.batch.storage import place_of
    from edgeseg.imaging import IMAGE_SUFFIXES
    from edgeseg.sources.video import VIDEO_SUFFIXES

    place = place_of(save)
    if isinstance(place, Path):
        is_file = place.suffix and not place.is_dir()
    else:
        is_file = PurePosixPath(place).suffix.lower() in {*IMAGE_SUFFIXES, *VIDEO_SUFFIXES}
    if is_file:
        raise InputError(f"--save {save}: many images go into a folder; type --save {save.rpartition('.')[0]}/.")
    return place


@dataclass(frozen=True, kw_only=True)
class Scoring(Many):
    """What is asked of a run of ``evaluate``, and where its scores go."""

    save: Place | None

    def plan_of(
        self, model: str, opened: tuple[RuntimeOptions, InputDescription], tiles: TileOptions, *, overwrite: bool
    ) -> AbstractContextManager[Plan]:
        """Return the context of where and on what a split is scored."""
        place = self.records or self.save or free_place("evaluate")
        settings = {**_settings("evaluate", model, *opened), "tiles": str(tiles)}
        return self.plan(place, settings, opened[0], overwrite=overwrite)


@dataclass(frozen=True)
class Done:
    """How images were done, and the names of the files that say it."""

    outcome: Outcome
    shard: Shard
    manifest: str
    tables: Sequence[str]

    @property
    def told(self) -> dict[str, Any]:
        """What ``--json`` has of the run."""
        return {
            "num_before": self.outcome.num_before,
            "num_failed": self.outcome.num_failed,
            "manifest": self.manifest,
            "tables": [*self.tables],
        }

    def show(self) -> int:
        """Say what was done; return the exit status."""
        outcome = self.outcome
        if outcome.num_before:
            note(f"{counted(outcome.num_before, 'image')} of {outcome.num_images} had a result already")
        note(f"saved: {', '.join((self.manifest, *self.tables))}")
        if self.shard.count > 1:
            note(
                f"that is shard {self.shard.number} of {self.shard.count}; the same command without --shard puts all "
                "that are in one folder together"
            )
        if outcome.num_failed:
            note(
                f"edgeseg: {counted(outcome.num_failed, 'image')} of {outcome.num_images} could not be done; "
                f"{self.tables[0]} says why, and the same command tries them again."
            )
        return 1 if outcome.num_failed else 0


def evaluate(
    opener: Callable[[Classes], Segmenter], data: DataSource, split: str, plan: Plan, tiles: TileOptions
) -> tuple[EvaluationResult, Done]:
    """Score a split of many images.

    Args:
        opener: opens the model for data of some classes; pickled.
        data: the data set, here or in a store.
        split: its name.
        plan: where and on what.
        tiles: how images are cut into windows.

    Returns:
        The scores, and how the images were done.
    """
    from edgeseg.batch.labeled import open_labeled
    from edgeseg.batch.listing import Pairs
    from edgeseg.batch.results import evaluation
    from edgeseg.batch.work import Evaluation

    dataset = open_labeled(data, split)
    opened = functools.partial(opener, dataset.classes)
    work = Evaluation(
        opener=opened, classes=dataset.classes, label_encoding=dataset.label_encoding, segment=tiles.segment
    )
    done = _run(work, Pairs(dataset.pairs, plan.shard), plan, "scores")
    return evaluation(done.outcome.manifest, dataset.classes), done


@contextmanager
def scores_in(place: Place, *, overwrite: bool) -> Iterator[Callable[[EvaluationResult, str], list[str]]]:
    """Yield what saves the scores of a split, with a title, in a folder or a store, and returns the files' names.

    Raises:
        BackendUnavailable: matplotlib is not installed.
        InputError: a file exists and ``overwrite`` is false, or the place cannot be written.
    """
    from edgeseg.batch.mirror import mirrored
    from edgeseg.evaluation.files import NAMES, require_room, save_evaluation

    if isinstance(place, Path):
        require_room(place, overwrite=overwrite)
        yield lambda result, title: [*map(str, save_evaluation(result, place, title=title, overwrite=overwrite))]
        return
    with mirrored(place) as mirror:
        require_room(mirror.folder, overwrite=True)
        mirror.require_room(NAMES, overwrite=overwrite)

        def save(result: EvaluationResult, title: str) -> list[str]:
            paths = save_evaluation(result, mirror.folder, title=title)
            for path in paths:
                mirror.keep(path)
            return [*map(mirror.shown, paths)]

        yield save


def _show_totals(outcome: Outcome) -> None:
    """Print the pixels of each class in all images."""
    from edgeseg.batch.results import totals

    pixels = totals(outcome.manifest, len(outcome.classes))
    rows = [
        [name, str(count), f"{count / max(pixels.sum(), 1):.2%}"]
        for name, count in zip(outcome.classes, pixels.tolist(), strict=True)
        if count
    ]
    print_table(["Class", ">Pixels", ">Share"], rows)


def _run(work: Work, images: Any, plan: Plan, table: str) -> Done:
    from edgeseg.batch.results import save_tables
    from edgeseg.batch.run import run

    with progress("doing images") as update:
        outcome = run(work, images, plan, progress=update)
    stem = plan.folder / f"{table}{plan.shard.suffix}"
    tables = save_tables(plan.manifest, stem, outcome.classes, scored=table == "scores")
    for path in tables if plan.mirror is not None else ():
        assert plan.mirror is not None
        plan.mirror.keep(path)
    return Done(outcome, plan.shard, plan.shown(plan.manifest), [*map(plan.shown, tables)])


def _settings(command: str, model: str, runtime: RuntimeOptions, description: InputDescription) -> dict[str, str]:
    """Return what the results of an image follow from, as text by name."""
    from edgeseg._internal.files import sha256
    from edgeseg._internal.limits.pairs import files_of
    from edgeseg.models.packaged_files import find_file

    path = find_file(model)
    digest = ", ".join(sha256(file.read_bytes()) for file in files_of(path)) if path.is_file() else "none"
    asked = dataclasses.replace(runtime, num_threads=None)
    return {
        "command": command,
        "model": Path(model).name,
        "sha256": digest,
        "runtime": repr(asked),
        "description": repr(description),
    }


def _opened(artifact: str, runtime: RuntimeOptions, description: InputDescription, drawing: Any) -> Segmenter:
    """Open the model; refuse a class that it lacks before the first image."""
    from edgeseg.drawing.painter import Painter
    from edgeseg.opening import open_segmenter

    segmenter = open_segmenter(artifact, runtime, description)
    for view in () if drawing is None else drawing.painted():
        Painter(segmenter.spec, dataclasses.replace(drawing.look, view=view))
    return segmenter


def _on_gpu(runtime: RuntimeOptions) -> bool:
    return runtime.accelerator == "gpu" or any("cuda" in name.lower() for name in runtime.providers)
