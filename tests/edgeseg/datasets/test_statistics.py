from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeseg.datasets import DataSource, open_split
from edgeseg.datasets.source import LabeledSplit
from edgeseg.datasets.statistics import channel_statistics
from edgeseg.errors import InputError
from edgeseg.imaging import read_image


def images(folder: Path, *arrays: np.ndarray) -> LabeledSplit:
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index, array in enumerate(arrays):
        Image.fromarray(array).save(folder / "images" / f"{index}.png")
        Image.fromarray(np.zeros(array.shape[:2], np.uint8)).save(folder / "labels" / f"{index}.png")
    return open_split(DataSource(root=str(folder), classes="a,b"), "all")


def test_they_are_those_of_image_data_generator(shapes_dataset: Path) -> None:
    """Its fit, typed again: mean and std over all pixels of all images, which have one size."""
    data = open_split(shapes_dataset, "train")
    x = np.stack([read_image(path) for path, _ in data.pairs]).astype(np.float64)
    steps: list[tuple[int, int]] = []
    statistics = channel_statistics(data, num_threads=2, progress=lambda done, total: steps.append((done, total)))
    # Rounded to hundredths of a gray level.
    assert statistics.mean == pytest.approx(np.mean(x, axis=(0, 1, 2)), abs=0.00501)
    assert statistics.std == pytest.approx(np.std(x, axis=(0, 1, 2)), abs=0.00501)
    assert steps == [(done, 10) for done in range(1, 11)]
    assert channel_statistics(data, num_threads=1) == statistics


def test_each_image_counts_alike_whatever_its_size_and_gray_ones_are_colors(tmp_path: Path) -> None:
    large, small = np.full((40, 50, 3), (10, 20, 30), np.uint8), np.full((4, 6), 110, np.uint8)
    statistics = channel_statistics(images(tmp_path / "data", large, small))
    assert statistics.mean == (60, 65, 70)
    assert statistics.std == (50, 45, 40)
    assert statistics.as_settings() == "`mean=(60, 65, 70), std=(50, 45, 40)`"


def test_a_channel_without_contrast_is_refused(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    image[..., 2] = 7
    with pytest.raises(InputError, match="all pixels of a channel are equal in all images"):
        channel_statistics(images(tmp_path / "data", image, image))
