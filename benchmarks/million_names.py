"""How much memory do a million images take that are listed, sharded, killed and resumed?

Makes a folder of so many names, all links to a few images of one pixel, so that each is a real image and the disk holds
names alone. The model is the null backend, which computes nothing: what is measured is edgeseg's own part. Two shards
run one after the other, each killed by ``kill -9`` in its middle and started again; then every name must be exactly
once in the two manifests. The memory is the peak of the process that lists, and of a process that does images, as the
system counts it (``VmHWM``, which has the interpreter, numpy and OpenCV in it: 0 names show how much).

    python benchmarks/million_names.py --names 1000000 --folder /tmp/million
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edgeseg.batch.listing import Images
from edgeseg.batch.manifest import records
from edgeseg.batch.results import save_tables
from edgeseg.batch.run import Plan, run
from edgeseg.batch.shard import Shard
from edgeseg.batch.work import Prediction
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, default_palette

NAMES = ("background", "thing")
#: A file has up to 65,000 names on ext4.
_LINKS = 60_000


def null_segmenter() -> Segmenter:
    """Open the model that computes nothing; in each process."""
    spec = ModelSpec(
        name="null", input_size=(8, 8), class_names=NAMES, palette=default_palette(2), output_kind="argmax"
    )
    return Segmenter(NullBackend(spec, np.ones((1, 8, 8), np.uint8)))


def make(folder: Path, count: int) -> None:
    """Make the names, ``camera_03/2026-11-30_000123.png``."""
    image = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    source = folder / "source"
    for number in range(count):
        if number % _LINKS == 0:
            source = folder / f".source{number}"
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(image)
        camera = folder / "in" / f"camera_{number % 10:02d}"
        if number < 10:
            camera.mkdir(parents=True)
        os.link(source, camera / f"2026-11-30_{number:07d}.png")


def peak_mb(pid: int | str = "self") -> float:
    """Return the most memory that a process has had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def shard(folder: Path, number: int, jobs: int) -> None:
    """Do a shard, and say how long each part took; a process of its own, which the caller may kill."""
    began = time.perf_counter()
    part = Shard(number, 2)
    images = Images([f"{folder}/in/*/*.png"], part)
    listed_s, listed_mb = time.perf_counter() - began, peak_mb()
    plan = Plan(folder=folder / "out", shard=part, jobs=jobs)
    workers: list[float] = []

    def progress(done: int, total: int) -> None:
        if done == total:
            pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            workers.extend(peak_mb(pid) for pid in pids)

    began = time.perf_counter()
    outcome = run(Prediction(opener=null_segmenter), images, plan, progress=progress)
    run_s, run_mb = time.perf_counter() - began, peak_mb()
    began = time.perf_counter()
    save_tables(plan.manifest, folder / "out" / f"counts{part.suffix}", outcome.classes, scored=False)
    tables_s = time.perf_counter() - began
    told = {
        "images": len(images), "before": outcome.num_before, "failed": outcome.num_failed, "listed_s": listed_s,
        "listed_mb": listed_mb, "run_s": run_s, "run_mb": run_mb, "tables_s": tables_s, "tables_mb": peak_mb(),
        "worker_mb": max(workers, default=0.0),
    }  # fmt: skip
    print(json.dumps({name: round(value, 1) for name, value in told.items()}))


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, which is removed at the end")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.shard is not None:
        shard(args.folder, args.shard, args.jobs)
        return
    args.folder.mkdir()
    began = time.perf_counter()
    make(args.folder, args.names)
    print(f"{args.names} names made in {time.perf_counter() - began:.0f} s", flush=True)
    command = [sys.executable, __file__, "--folder", str(args.folder), "--jobs", str(args.jobs), "--shard"]
    for number in (1, 2):
        manifest = args.folder / "out" / f"manifest-{number}-of-2.jsonl"
        killed = subprocess.Popen([*command, str(number)])
        # A line has some 70 bytes; half of the shard, give or take.
        while not (manifest.exists() and manifest.stat().st_size > 70 * args.names / 4):
            assert killed.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        print(f"shard {number}/2: killed at {manifest.stat().st_size / 1e6:.1f} MB of manifest", flush=True)
        done = subprocess.run([*command, str(number)], check=True, capture_output=True, text=True)
        print(f"shard {number}/2: {done.stdout.strip()}", flush=True)
    seen = [record.name for path in (args.folder / "out").glob("manifest*") for record in records(path)]
    assert len(seen) == len(set(seen)) == args.names, f"{len(seen)} results of {len(set(seen))} names"
    print(f"every one of {args.names} names has one result")
    shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
