"""Measure what each ``resize`` of a ModelSpec takes, and how far it is from Pillow's bicubic.

    python benchmarks/resize.py VIDEO --output benchmarks/results/NAME.json

In turns, round after round, on one thread: noise of each size is scaled by each ``resize`` and by Pillow, and the time
is that of the thread on its core, so that other work on the machine does not count. Distances are those of a frame of
the video, letterboxed into the size of a model, in gray levels; Pillow scales columns first, as before version 13.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from _shared import environment, write_json
from numpy.typing import NDArray
from PIL import Image

from edgeseg._internal.resampling import resized
from edgeseg.choices import Resize
from edgeseg.sources import frames

#: A camera's frame or a photo, and the largest part of a model's input of 512x512 that it fills, ``(H, W)``.
SIZES = (((1080, 1920), (288, 512)), ((480, 640), (384, 512)), ((256, 256), (512, 512)))
BICUBIC = Image.Resampling.BICUBIC


def by_pillow(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale by Pillow's bicubic, in one call, from and to an array."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], BICUBIC))


def milliseconds(size: tuple[int, int], scaled: tuple[int, int], rounds: int) -> dict[str, float]:
    """Return the median time of each side."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    sides = {name: (lambda name=name: resized(image, scaled, name)) for name in get_args(Resize)}
    sides["Pillow's bicubic"] = lambda: by_pillow(image, scaled)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.thread_time()
            run()
            times[name].append(1e3 * (time.thread_time() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first makes the weights


def distances(image: NDArray[np.uint8], side: int) -> dict[str, dict[str, float]]:
    """Return the mean and the largest distance of each ``resize`` from Pillow's bicubic, in gray levels."""
    height, width = image.shape[:2]
    scaled = (int(height * side / max(height, width)), int(width * side / max(height, width)))
    expected = by_pillow(by_pillow(image, (height, scaled[1])), scaled).astype(int)
    found = {}
    for name in get_args(Resize):
        distance = np.abs(resized(image, scaled, name) - expected)
        found[name] = {"mean": float(distance.mean()), "largest": float(distance.max())}
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="an image or a video; of a video the 150th frame")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    results: list[dict[str, Any]] = []
    for size, scaled in SIZES:
        results.append({"size": size, "scaled": scaled, "ms": milliseconds(size, scaled, args.rounds)})
        print(size, scaled, {name: round(ms, 1) for name, ms in results[-1]["ms"].items()})
    image = next(iter(frames([args.video], start=150))).image_rgb
    for side in (128, 224, 512):
        results.append({"size": image.shape[:2], "side": side, "levels": distances(image, side)})
        print(image.shape[:2], side, {name: round(each["mean"], 2) for name, each in results[-1]["levels"].items()})
    if args.output:
        write_json(args.output, environment(packages=("numpy", "opencv-python", "pillow")), results)


if __name__ == "__main__":
    main()
