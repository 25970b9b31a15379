"""Measure what soft edges cost in a frame, and what enlarging scores costs, without a model.

    python benchmarks/matte.py IMAGE --output benchmarks/results/NAME.json

The image, scaled to each size, is drawn again and again, in turns, round after round, with hard and with soft edges;
the probabilities are those of a disc, blurred, at the size of a model of persons. Times are medians in milliseconds on
one thread, of that thread on its core, so that other work on the machine does not count:

- matte: the share of a class from the scores, steadied over time, and the guided filter;
- blur, replace: drawing the view with soft edges, the matte included, and with hard ones;
- class map: the best class of enlarged scores, of two classes and of eleven, and ``argmax`` of all of them enlarged.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _shared import environment, write_json
from numpy.typing import NDArray

from edgeseg.camera.matte import SteadyMatte
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import Painter
from edgeseg.imaging import read_image
from edgeseg.scores.score_map import ScoreMap
from edgeseg.spec import ModelSpec, default_palette

SIZES = ((480, 640), (720, 1280), (1080, 1920))
#: The scores of a model of persons, and of the packaged model.
PERSON, STREET = (256, 256), (384, 480)


def person_of(size: tuple[int, int]) -> ScoreMap:
    """Return the probabilities of a blurred disc, and of all around it."""
    height, width = PERSON
    disc = cv2.circle(np.zeros(PERSON, np.float32), (width // 2, height // 2), height // 3, 1, cv2.FILLED)
    share = cv2.GaussianBlur(disc, (0, 0), 2)
    return ScoreMap(np.dstack([1 - share, share]), "softmax", size)


def street_of(size: tuple[int, int]) -> ScoreMap:
    """Return logits of 11 classes, each in areas of about 40 pixels."""
    noise = np.random.default_rng(0).normal(size=(*STREET, 11)).astype(np.float32)
    return ScoreMap(
        np.dstack([cv2.GaussianBlur(layer, (0, 0), 20) for layer in np.moveaxis(noise, 2, 0)]), "logits", size
    )


def sides(image: NDArray[np.uint8]) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name."""
    size = (image.shape[0], image.shape[1])
    spec = ModelSpec(name="person", input_size=PERSON, class_names=("background", "person"), palette=default_palette(2))
    person, street = person_of(size), street_of(size)
    model_map = person.values.argmax(-1).astype(np.uint8)
    shown = np.arange(256) == 1
    looks = {view: Look(view=view, background=image[:, ::-1]) for view in ("blur", "replace")}
    paints = {name: Painter(spec, look) for name, look in looks.items()}
    steady = SteadyMatte()

    def share() -> NDArray[np.float32]:
        return steady(person.share(shown))

    def soft(view: str) -> Callable[[], Any]:
        return lambda: paints[view](image.copy(), model_map, share())

    def hard(view: str) -> Callable[[], Any]:
        return lambda: paints[view](image.copy(), model_map)

    return {
        "copy": image.copy,
        "matte": lambda: paints["blur"].matte(image, share()),
        **{f"{view}, soft": soft(view) for view in looks},
        **{f"{view}, hard": hard(view) for view in looks},
        "class map of 2": person.class_map,
        "class map of 11": street.class_map,
        "argmax of 11 enlarged": lambda: street.enlarged().argmax(-1),
    }


def milliseconds(image: NDArray[np.uint8], rounds: int) -> dict[str, float]:
    """Return the median time of each side; of those that draw into a copy without the copy's."""
    timed = sides(image)
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds + 1):
        for name, run in timed.items():
            run()  # the side before has its memory in the caches
            start = time.thread_time()
            run()
            times[name].append(1e3 * (time.thread_time() - start))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    copy = medians.pop("copy")
    return {name: ms - copy * name.endswith(("soft", "hard")) for name, ms in medians.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="a photo")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    photo = read_image(args.image)
    results: list[dict[str, Any]] = []
    for height, width in SIZES:
        image = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        results.append({"size": (height, width), "ms": milliseconds(image, args.rounds)})  # type: ignore[arg-type]
        print(f"{width}x{height}:", ", ".join(f"{name} {ms:.2f} ms" for name, ms in results[-1]["ms"].items()))
    if args.output:
        write_json(args.output, environment(packages=("numpy", "opencv-python")), results)


if __name__ == "__main__":
    main()
