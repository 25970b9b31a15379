from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def copy(shapes_dataset: Path, tmp_path: Path) -> Path:
    """The data set, to be damaged."""
    return Path(shutil.copytree(shapes_dataset, tmp_path / "data"))


@pytest.fixture
def gray(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a flat set of black images, one for each label that it is given."""

    def make(*labels: np.ndarray, name: str = "flat") -> Path:
        root = tmp_path / name
        for folder in ("images", "labels"):
            (root / folder).mkdir(parents=True)
        for index, label in enumerate(labels):
            Image.fromarray(np.zeros((*label.shape[:2], 3), np.uint8)).save(root / "images" / f"{index}.png")
            Image.fromarray(label).save(root / "labels" / f"{index}.png")
        return root

    return make
