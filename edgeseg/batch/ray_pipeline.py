"""Do images as a pipeline of Ray Data: an actor a core or a GPU, each with the model open, on one machine or a cluster.

Ray starts the actors, gives them work and replaces those that are lost; nothing of that is done here. The records come
back to this process, which writes the manifest, so that a run of Ray is resumed, counted and scored as any other.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import decode
from edgeseg._internal.text import escaped
from edgeseg.batch.record import Item, Record
from edgeseg.batch.work import Work, failed
from edgeseg.errors import BackendUnavailable, EdgesegError, InputError, missing_extra

#: Starts Ray on this machine, for the run alone.
LOCAL = "local"

# Images that an actor takes at once; what it has not given back is done again when it is lost.
_AT_ONCE = 32

# How often an actor that dies is tried again with the same images.
_RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where Ray runs, and what an actor takes there.

    Attributes:
        address: ``local``, or that of a running cluster: ``auto``, ``HOST:PORT``, ``ray://HOST:PORT``.
        actors: how many; as many as fit when ``None``.
        num_threads: cores of each, which are the threads of its runtime.
        num_gpus: GPUs of each.
    """

    __repr__ = short_repr

    address: str = LOCAL
    actors: int | None = None
    num_threads: int = 1
    num_gpus: int = 0


class _Actor:
    """Does a batch of images; the model is open for as long as the actor lives."""

    def __init__(self, work: Work, setup: Callable[[], None] | None) -> None:
        if setup is not None:
            setup()
        self._held = ExitStack()
        self._worker, _ = self._held.enter_context(work.open())

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        columns = (batch["name"].tolist(), batch["image"].tolist(), batch["label"].tolist())
        items = [Item(name, image, label or None) for name, image, label in zip(*columns, strict=True)]
        try:
            return {"line": np.array([self._worker(item).line() for item in items], object), "stop": [""] * len(items)}
        except EdgesegError as error:  # nothing can go on; raised here, it would be one batch that failed
            return {"line": np.array([b""], object), "stop": [str(error)]}


def records(
    work: Work, items: Sequence[Item], cluster: Cluster, *, setup: Callable[[], None] | None = None
) -> Generator[Record, None, None]:
    """Yield the record of each image, in the order in which they end.

    Images that no actor gives back, as it dies of them again and again, are tried once more alone, and then recorded as
    broken.

    Args:
        work: what is done; pickled.
        items: the images.
        cluster: where.
        setup: called in each actor first.

    Raises:
        BackendUnavailable: Ray is not installed.
        InputError: there is no cluster at the address, it has too few cores or GPUs, or nothing can go on.
    """
    left = {item.name: item for item in items}
    with _connected(cluster) as ray:
        actors = _number_of_actors(ray, cluster)
        for at_once in (_AT_ONCE, 1):
            if not left:
                break
            for record in _run(ray, work, list(left.values()), at_once, (cluster, actors, setup)):
                del left[record.name]
                yield record
    for item in left.values():
        yield failed(item, "the actors of Ray that did it died")


def _run(
    ray: Any,
    work: Work,
    items: Sequence[Item],
    at_once: int,
    place: tuple[Cluster, int, Callable[[], None] | None],
) -> Iterator[Record]:
    cluster, actors, setup = place
    at_once = max(1, min(at_once, len(items) // (4 * actors)))
    blocks = -(-len(items) // at_once)
    rows = [{"name": item.name, "image": item.image, "label": item.label or ""} for item in items]
    # Deprecated without another way to bound the tries; the extra asks for a Ray that still has it.
    warnings.filterwarnings("ignore", message=".*ray_remote_args_fn")
    data = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        _Actor,
        fn_constructor_args=(work, setup),
        batch_size=None,  # a block, which is what is done again when an actor is lost
        compute=ray.data.ActorPoolStrategy(size=min(actors, blocks)),
        num_cpus=cluster.num_threads,
        num_gpus=cluster.num_gpus or None,
        # An actor is always replaced; without a bound, one image that takes it down would be tried for ever.
        ray_remote_args_fn=lambda: {"max_task_retries": _RETRIES},
    )
    try:
        for row in data.iter_rows():
            if row["stop"]:
                raise InputError(row["stop"])
            yield decode(row["line"], Record)
    except ray.exceptions.RayError as error:
        raise InputError(f"Ray stopped: {_reason(error)}.") from error


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    # Ray sends reports of its use unless this is set before it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_extra("a run on Ray", "ray") from error
    if ray.is_initialized():
        raise InputError("Ray runs in this process already; end it with ray.shutdown().")
    try:
        ray.init(address=cluster.address, include_dashboard=None, log_to_driver=False, logging_level="error")
    except Exception as error:  # Ray raises it bare where a node does not start in time
        raise BackendUnavailable(f"there is no Ray at '{cluster.address}': {_reason(error)}.") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        for name in ("ray", "ray.data"):  # its steps; what fails is said here
            logging.getLogger(name).setLevel(logging.ERROR)
        context.max_errored_blocks = -1  # what is in them is tried again, alone
        yield ray
    finally:
        ray.shutdown()


def _number_of_actors(ray: Any, cluster: Cluster) -> int:
    there = ray.cluster_resources()
    fit = int(there.get("CPU", 0)) // cluster.num_threads
    if cluster.num_gpus:
        fit = min(fit, int(there.get("GPU", 0)) // cluster.num_gpus)
    wanted = cluster.actors or fit
    if not 1 <= wanted <= fit:
        has = f"{there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs"
        raise InputError(
            f"the cluster has {has}: {fit} actors of `num_threads={cluster.num_threads}` fit, not {max(wanted, 1)}."
        )
    return wanted


def _reason(error: BaseException) -> str:
    return escaped(" ".join(str(error).split()).rstrip("."), most=300)
