"""Run work on many images: what the manifest lacks is done, and the tables are made of what it then has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from edgeseg._internal.fields import short_repr
from edgeseg._internal.progress import Progress
from edgeseg.batch import ray_pipeline
from edgeseg.batch.listing import Listing
from edgeseg.batch.manifest import Manifest, open_manifest, other_files, records, require_settings, settings_of
from edgeseg.batch.mirror import Mirror
from edgeseg.batch.pool import Pool
from edgeseg.batch.record import Record
from edgeseg.batch.shard import Shard
from edgeseg.batch.work import Work
from edgeseg.errors import InputError

_STEM, _SUFFIX = "manifest", ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where and on what images are done.

    Attributes:
        folder: of the manifest and the tables.
        settings: what is done and by what, as text by name; a folder has results of the same settings alone.
        shard: which part of the images this run does.
        jobs: processes of this machine, where ``cluster`` is ``None``.
        cluster: the cluster of Ray that does it instead.
        overwrite: begin anew where the folder has results.
        setup: called first in each process that does images; a function that can be pickled.
        mirror: of a store, which gets what is made in ``folder``, its working copy.
    """

    __repr__ = short_repr

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    shard: Shard = field(default_factory=Shard)
    jobs: int = 1
    cluster: ray_pipeline.Cluster | None = None
    overwrite: bool = False
    setup: Callable[[], None] | None = None
    mirror: Mirror | None = None

    @property
    def manifest(self) -> Path:
        """The manifest of this shard."""
        return self.folder / f"{_STEM}{self.shard.suffix}{_SUFFIX}"

    def shown(self, path: Path) -> str:
        """Return how a file of the folder is named to a user: by its address where it goes to a store."""
        return str(path) if self.mirror is None else self.mirror.shown(path)

    def require_place(self) -> None:
        """Raise ``InputError`` where the folder has other files, or results of other settings."""
        if self.overwrite or self.manifest.exists() or not self.folder.is_dir():
            return
        others = sorted(self.folder.glob(f"{_STEM}-*{_SUFFIX}"))
        if others:
            require_settings(others[0], self.settings)
        elif any(not path.name.startswith(".") for path in self.folder.iterdir()):
            raise other_files(str(self.folder))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run did.

    Attributes:
        manifest: the file that has the result of each image.
        classes: the names of the classes that it counts.
        num_images: images of this shard.
        num_before: those that had a result before this run.
        num_failed: those that have none, as they are broken.
    """

    __repr__ = short_repr

    manifest: Path
    classes: tuple[str, ...]
    num_images: int
    num_before: int
    num_failed: int


def run(work: Work, images: Listing, plan: Plan, *, progress: Progress | None = None) -> Outcome:
    """Do what is not done yet.

    Images that an earlier run could not do are tried again. A run of all images takes the results of shards that are in
    the folder, so that it puts them together.

    Args:
        work: what is done with an image.
        images: all images of the shard.
        plan: where and on what.
        progress: called with images done and in all.

    Raises:
        EdgesegError: the model does not open, the folder is of another run, or nothing can go on, such as on a full
            disk; what is done until then is kept.
    """
    plan.require_place()
    with ExitStack() as held:
        manifest = held.enter_context(open_manifest(plan.manifest, plan.settings, images, overwrite=plan.overwrite))
        if plan.mirror is not None:
            held.enter_context(plan.mirror.keeping(plan.manifest))
        if plan.shard.count == 1 and not plan.overwrite:
            _take_shards(manifest, images, plan)
        before, num_failed = sum(manifest.done), 0
        left = (images.item(index) for index in range(len(images)) if not manifest.done[index])
        if before == len(images):
            _, classes = held.enter_context(work.open())  # for their names alone
            found: Iterator[Record] = iter(())
        elif plan.cluster is None:
            pool = held.enter_context(Pool(work, min(plan.jobs, len(images) - before), setup=plan.setup))
            classes, found = pool.classes, pool.records(left)
        else:
            with work.open() as (_, classes):
                pass  # what is wrong with the model is said here, and not by an actor that does not start
            found = records_of_ray = ray_pipeline.records(work, list(left), plan.cluster, setup=plan.setup)
            held.callback(records_of_ray.close)
        for number, record in enumerate(found, before + 1):
            num_failed += record.error is not None
            manifest.append(record)
            if plan.mirror is not None:
                plan.mirror.keep_lines(plan.manifest)
            if progress is not None:
                progress(number, len(images))
    return Outcome(
        manifest=plan.manifest, classes=classes, num_images=len(images), num_before=before, num_failed=num_failed
    )


def _take_shards(manifest: Manifest, images: Listing, plan: Plan) -> None:
    """Add the results that shards of the same settings have to the manifest of all images."""
    for path in sorted(plan.folder.glob(f"{_STEM}-*{_SUFFIX}")):
        try:
            if settings_of(path) != dict(plan.settings):
                continue  # what `overwrite` left of another run
        except InputError:
            continue  # killed before its first line was whole: it has nothing
        for record in records(path):
            place = images.index(record.name)
            if record.error is None and place is not None and not manifest.done[place]:
                manifest.append(record)
                manifest.done[place] = True
