from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.batch.work import Evaluation
from edgeseg.datasets import Classes
from edgeseg.runtime.null import NullBackend
from edgeseg.segmentation import Segmentation
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, default_palette

#: A real file of three classes, which LiteRT runs.
MODEL = Path(__file__).parents[2] / "data" / "saved.fp32.tflite"
NAMES = ("wall", "red", "blue")


def write_images(folder: Path, count: int, size_hw: tuple[int, int] = (24, 32)) -> None:
    """Images of seeded noise, each of its own: ``000.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (*size_hw, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.png"), pixels)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 20 images."""
    write_images(tmp_path / "in", 20)
    return tmp_path / "in"


@dataclass(frozen=True)
class Opener:
    """Opens the real file, and writes its process id into a folder; dies, once or always, at an image by its color.

    The deaths are real: the process kills itself as a native crash would.
    """

    folder: Path
    always: bool = False

    def __call__(self) -> Segmenter:
        (self.folder / f"{os.getpid()}.pid").touch()
        return _Mortal(MODEL, self)


class _Mortal(Segmenter):
    def __init__(self, model: Path, opener: Opener) -> None:
        super().__init__(model, num_threads=1)
        self._opener = opener

    def __call__(self, image_rgb: np.ndarray) -> Segmentation:
        if (image_rgb == (1, 2, 3)).all():
            mark = self._opener.folder / "died"
            if self._opener.always or not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(image_rgb)


def write_deadly(path: Path) -> None:
    """An image that ends the process which segments it."""
    cv2.imwrite(str(path), np.full((24, 32, 3), (3, 2, 1), np.uint8))


NULL = ModelSpec(name="null", input_size=(8, 8), class_names=NAMES, palette=default_palette(3), output_kind="logits")


def null_segmenter() -> Segmenter:
    """A model that computes nothing, for runs of very many images."""
    return Segmenter(NullBackend(NULL.replace(output_kind="argmax"), np.ones((1, 8, 8), np.uint8)))


def null_scores() -> Segmenter:
    """A model that gives the same scores for every image, which are enlarged to the image's size."""
    return Segmenter(NullBackend(NULL, np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)))


@pytest.fixture
def labeled(tmp_path: Path) -> Callable[[int], tuple[Path, Evaluation, Opener]]:
    """A function that writes a split of so many images and labels; returns its folder and the work on it."""

    def write(count: int) -> tuple[Path, Evaluation, Opener]:
        root = tmp_path / "data"
        write_images(root / "test" / "images", count)
        (root / "test" / "labels").mkdir()
        for number in range(count):
            ids = np.random.default_rng(1000 + number).integers(0, 3, (24, 32), np.uint8)
            cv2.imwrite(str(root / "test" / "labels" / f"{number:03d}.png"), ids)
        (root / "classes.json").write_text('{"names": ["wall", "red", "blue"], "ignore_index": 255}')
        pids = tmp_path / "pids"
        pids.mkdir(exist_ok=True)
        opener = Opener(pids)
        classes = Classes(names=NAMES, palette=default_palette(3), ignore_index=255)
        return root, Evaluation(opener=opener, classes=classes, label_encoding="ids"), opener

    return write
