"""How many images a second do processes and Ray do, and what does a lost worker cost?

Evaluates images of seeded noise with a packaged model: one process that reads one after the other, processes and Ray
Data with one and two workers, in turns, each ``--rounds`` times; and Ray once more on a cluster of two nodes, where a
worker is killed in the middle. Each run must have every image once, and the confusion matrix of the first to the bit.

    python benchmarks/many_images.py --images 2000 --folder /tmp/many
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeseg.batch.listing import Pairs
from edgeseg.batch.manifest import records
from edgeseg.batch.ray_pipeline import Cluster
from edgeseg.batch.results import evaluation
from edgeseg.batch.run import Plan, run
from edgeseg.batch.work import Evaluation
from edgeseg.datasets import LabeledSplit, open_split
from edgeseg.evaluation.evaluate import evaluate
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, default_palette

# With how many images done the worker is killed, as a share.
_KILLED_AT = 0.4


_NULL = ModelSpec(
    name="null", input_size=(8, 8), class_names=("a", "b", "c"), palette=default_palette(3), output_kind="logits"
)


@dataclass(frozen=True)
class Opener:
    """Opens the model with one thread, and leaves the process id in a folder."""

    model: str
    folder: Path

    def __call__(self) -> Segmenter:
        """Open it."""
        (self.folder / f"{os.getpid()}.pid").touch()
        if self.model == "null":
            output = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
            return Segmenter(NullBackend(_NULL, output))
        return Segmenter(self.model, num_threads=1)


def make(root: Path, count: int, classes: tuple[str, ...], size_hw: tuple[int, int]) -> LabeledSplit:
    """Write images and labels of seeded noise, coarse enough to be areas."""
    for name in ("images", "labels"):
        (root / "test" / name).mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 255, (12, 16, 3), np.uint8)
        image = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / "test" / "images" / f"{number:05d}.jpg"), image)
        ids = rng.integers(0, len(classes), (12, 16), np.uint8)
        label = cv2.resize(ids, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(root / "test" / "labels" / f"{number:05d}.png"), label)
    (root / "classes.json").write_text(json.dumps({"names": classes, "ignore_index": 255}))
    return open_split(root, "test")


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", default="person", help="a file or packaged name; null computes nothing")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, which is removed at the end")
    parser.add_argument("--only-cluster", action="store_true", help="one process, and the cluster that loses a worker")
    args = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "240")  # a busy machine takes its time
    args.folder.mkdir()
    opener = Opener(args.model, args.folder)
    spec = opener().spec
    split = make(args.folder / "data", args.images, spec.class_names, (48, 64) if args.model == "null" else (360, 480))
    work = Evaluation(opener=opener, classes=split.classes, label_encoding=split.label_encoding)
    expected: Any = None
    seconds: dict[str, list[float]] = {}

    def alone() -> Any:
        return evaluate(opener(), split).matrix.counts

    def with_plan(plan: Plan, progress: Callable[[int, int], None] | None = None) -> Any:
        shutil.rmtree(plan.folder, ignore_errors=True)
        for path in args.folder.glob("*.pid"):
            path.unlink()
        pairs = Pairs([(str(image), str(label)) for image, label in split.pairs])
        outcome = run(work, pairs, plan, progress=progress)
        names = [record.name for record in records(outcome.manifest)]
        assert len(names) == len(set(names)) == args.images and not outcome.num_failed, outcome
        return evaluation(outcome.manifest, split.classes).matrix.counts

    plan = Plan(folder=args.folder / "out")
    sides: dict[str, Callable[[], Any]] = {
        "one after the other": alone,
        "--jobs 1": lambda: with_plan(plan),
        "--jobs 2": lambda: with_plan(replace(plan, jobs=2)),
        "--ray local --jobs 1": lambda: with_plan(replace(plan, cluster=Cluster(actors=1))),
        "--ray local --jobs 2": lambda: with_plan(replace(plan, cluster=Cluster(actors=2))),
    }
    if args.only_cluster:
        sides = {"one after the other": alone}
    for _ in range(args.rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            counts = side()
            seconds.setdefault(name, []).append(time.perf_counter() - began)
            expected = counts if expected is None else expected
            assert (counts == expected).all(), f"{name}: another confusion matrix"
            print(f"{name}: {args.images / seconds[name][-1]:.1f} images/s", flush=True)

    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        pids = [int(path.stem) for path in args.folder.glob("*.pid")]
        workers = [pid for pid in pids if pid != os.getpid() and Path(f"/proc/{pid}").exists()]
        if done >= _KILLED_AT * total and not killed and len(workers) == 2:
            killed.append(done)
            os.kill(workers[0], signal.SIGKILL)

    began = time.perf_counter()
    counts = with_plan(replace(plan, cluster=Cluster(address=nodes.address)), kill)
    took = time.perf_counter() - began
    nodes.shutdown()
    assert killed and (counts == expected).all()
    print(f"two nodes, a worker killed after {killed[0]} images: {args.images / took:.1f} images/s, matrix equal")
    print("\n| | images/s | seconds |\n|---|---:|---:|")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"| {name} | {args.images / median:.1f} | {median:.1f} |")
    shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
