"""Measure whether reading and augmenting keep up with training: the input pipeline and the training step, each alone.

    python benchmarks/input_pipeline.py DATA --output benchmarks/results/NAME.json

In turns, in one process and with the same threads, round after round:
- step: one training step of the model, Adam and cross-entropy as ``fit`` compiles them, on a batch that is ready;
- crop, jitter: the pipeline with that preset, its images cached, as from the second epoch on;
- crop, nothing kept: the same, but every image is decoded again, as in the first epoch or without memory for a cache.
Ratios are taken within a round and are the medians over the rounds. Some epochs of the pipeline run first, before the
model takes memory, with the largest resident set of the process after each; the first epoch fills the cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _shared

from edgeseg.datasets import LabeledSplit, open_split
from edgeseg.models.zoo.table import find
from edgeseg.training.data.augment import Augmentation
from edgeseg.training.data.cache import CachedPairs
from edgeseg.training.data.pipeline import BatchOrder, training_pipeline

#: Side to its preset and the memory for decoded images, in bytes.
PIPELINES = {"crop": ("crop", 1 << 30), "jitter": ("jitter", 1 << 30), "crop, nothing kept": ("crop", 0)}


def open_pipeline(
    data: LabeledSplit, name: str, size: tuple[int, int], batch_size: int, side: str
) -> tuple[Iterator[Any], int]:
    """Return the batches of one side, and the number of steps in an epoch."""
    preset, cache_bytes = PIPELINES[side]
    classes = data.classes
    batches, steps = training_pipeline(
        CachedPairs(data, cache_bytes),
        find(name).spec(size, classes.names, classes.palette, classes.ignore_index),
        Augmentation.preset(preset, size),  # type: ignore[arg-type]
        BatchOrder(batch_size=batch_size, seed=0),
        num_threads=_shared.THREADS,
    )
    return iter(batches), steps


def peak_mb() -> float:
    """Return the largest resident set of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def epochs_alone(batches: Iterator[Any], steps: int, batch_size: int, epochs: int) -> list[dict[str, float]]:
    """Run whole epochs of the pipeline alone; return images per second, and the memory after each epoch."""
    rows = []
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        for _ in range(steps):
            next(batches)
        pace = steps * batch_size / (time.perf_counter() - start)
        rows.append({"epoch": epoch, "images_a_second": pace, "peak_mb": peak_mb()})
        print(f"epoch {epoch}: {pace:7.1f} images/s, largest resident set {peak_mb():.0f} MiB", flush=True)
    return rows


def pipeline_pace(batches: Iterator[Any], batch_size: int, seconds: float) -> float:
    """Return the images per second of a pipeline whose batches are dropped."""
    for _ in range(4 * _shared.THREADS):  # batches prepared while another side was timed
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += 1
    return count * batch_size / (time.perf_counter() - start)


def make_step(name: str, size: tuple[int, int], num_classes: int) -> Any:
    """Return a function that trains on a batch; TensorFlow traces and compiles it at the first call."""
    import keras
    import tensorflow as tf

    from edgeseg.models import create
    from edgeseg.training.data.augment import IGNORED

    tf.config.threading.set_intra_op_parallelism_threads(_shared.THREADS)
    model = create(name, num_classes=num_classes, input_size=size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
    model.compile(optimizer="adam", loss=loss)
    return model.train_on_batch


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the epochs first, then the sides in turns."""
    name, size = _shared.parse_model(args.model)
    data = open_split(args.data, "train")
    opened = {side: open_pipeline(data, name, size, args.batch_size, side) for side in PIPELINES}
    epochs = epochs_alone(*opened["crop"], args.batch_size, args.epochs)
    for _ in range(opened["jitter"][1]):  # fills its cache
        next(opened["jitter"][0])

    step = make_step(name, size, len(data.classes.names))
    images, labels = next(opened["crop"][0])
    step(images, labels)  # traces and compiles it
    paces: dict[str, list[float]] = {side: [] for side in ("step", *PIPELINES)}
    for _ in range(args.rounds):
        start = time.perf_counter()
        step(images, labels)
        paces["step"].append(args.batch_size / (time.perf_counter() - start))
        for side, (batches, _) in opened.items():
            paces[side].append(pipeline_pace(batches, args.batch_size, args.seconds))
        print("  ".join(f"{side} {values[-1]:.1f}/s" for side, values in paces.items()), flush=True)
    ratios = {
        side: statistics.median(a / b for a, b in zip(paces[side], paces["step"], strict=True)) for side in PIPELINES
    }
    return {
        "model": name,
        "input_size": size,
        "batch_size": args.batch_size,
        "dataset": Path(args.data).name,
        "num_images": len(data),
        "epochs": epochs,
        "images_a_second": {side: statistics.median(values) for side, values in paces.items()},
        "ratio_to_the_step": ratios,
        "rounds": paces,
    }


def main() -> None:
    """Read the arguments, measure, print the result, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of a labeled data set with a train split")
    parser.add_argument("--model", default="mobilenet_unet:256", help="NAME:SIZE or NAME:H,W")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each pipeline in each round")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    result = measure(args)
    pace = result["images_a_second"]
    print(f"training step: {pace['step']:.2f} images/s")
    for side, ratio in result["ratio_to_the_step"].items():
        print(f"{side:20} {pace[side]:8.1f} images/s, {ratio:.1f} times what the step consumes")
    memory = ", ".join(f"{row['peak_mb']:.0f}" for row in result["epochs"])
    print(f"largest resident set after each epoch, in MiB: {memory}")
    if args.output is not None:
        _shared.write_json(args.output, _shared.environment(packages=("grain", "opencv-python")), [result])


if __name__ == "__main__":
    main()
