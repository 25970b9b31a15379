"""Calibration: which images, what they say, and whether there were enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models.zoo.table import ZOO
from edgeseg_converters.calibration import MAX_DISAGREEMENT, MIN_IMAGES, Ranges, choose

SIZE = (32, 48)


def ranges(low: list[float], high: list[float]) -> Ranges:
    return Ranges({"x": np.array(low, np.float32)}, {"x": np.array(high, np.float32)})


def test_the_choice_is_seeded_and_recorded(shapes_dataset: Path) -> None:
    first, again, other = (choose(shapes_dataset, count=8, seed=seed) for seed in (1, 1, 2))
    assert first.paths == again.paths != other.paths
    assert len(set(first.paths)) == 8
    told = first.to_dict()
    assert (told["source"], told["seed"], told["num_images"]) == (f"{shapes_dataset.name}/train", 1, 8)
    assert told["files"][0].startswith("images/")
    assert len(first.first(3).paths) == 3


def test_too_few_images_are_refused(shapes_dataset: Path) -> None:
    with pytest.raises(InputError, match=rf"has 4 images; calibration needs at least {MIN_IMAGES}"):
        choose(shapes_dataset / "val" / "images")


def test_a_corrupt_image_is_named(shapes_dataset: Path, tmp_path: Path) -> None:
    for index, path in enumerate(sorted((shapes_dataset / "train" / "images").iterdir())):
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 40 if index == 5 else None])
    spec = ZOO["unet_mini"].default_spec(3, SIZE)
    with pytest.raises(InputError, match=r"05\.png"):
        list(choose(tmp_path).tensors(spec))


def test_halves_that_agree_are_enough() -> None:
    found = ranges([0, 0.1, 0, 0], [6, 6, 5.9, 6]).stability()
    assert found.stable
    assert found.disagreement <= 0.02  # a sixtieth of the range at each end


def test_halves_that_differ_are_too_few() -> None:
    found = ranges([0, 0, 0, 0], [1, 4, 1, 1]).stability()
    assert not found.stable
    assert found.disagreement == pytest.approx(0.75)
    assert found.disagreement > MAX_DISAGREEMENT
    assert found.worst == ("x", pytest.approx(0.75))


def test_one_image_says_nothing() -> None:
    assert not ranges([0], [1]).stability().stable
