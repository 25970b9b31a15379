from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.datasets import Classes, LabeledSplit, open_split
from edgeseg.datasets.faults import BadExample
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg.training.objective.class_weights import given, median_frequency, sqrt_median_frequency


def split(folder: Path, labels: list[np.ndarray], num_classes: int, ignore_index: int | None) -> LabeledSplit:
    """Labels on disk without images: nothing but the labels may be read."""
    pairs = []
    for index, label in enumerate(labels):
        path = folder / f"{index}.png"
        path.write_bytes(encode_image(label))
        pairs.append((folder / "no image.png", path))
    names = tuple("abcdefgh"[:num_classes])
    return LabeledSplit(
        Classes(names=names, palette=((0, 0, 0),) * num_classes, ignore_index=ignore_index), tuple(pairs)
    )


def quarters(*ids: int) -> np.ndarray:
    return np.repeat(np.array(ids, np.uint8), 4).reshape(4, 4)


def test_by_hand(tmp_path: Path) -> None:
    data = split(tmp_path, [quarters(0, 0, 0, 1), quarters(0, 0, 2, 255)], 4, 255)
    # Of 16 pixels an image: a has 12 + 8 of 32, b 4 of 16 (it is in one image only), c 4 of 16, d none.
    # f = 0.625, 0.25, 0.25; the median of the three is 0.25.
    weights = median_frequency(data)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [0.25 / 0.625, 1.0, 1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(sqrt_median_frequency(data), np.sqrt(weights), rtol=1e-6)
    assert sqrt_median_frequency(data).dtype == np.float32


def test_pixels_count_where_images_differ_in_size(tmp_path: Path) -> None:
    data = split(tmp_path, [np.zeros((4, 12), np.uint8), quarters(0, 1, 1, 1)], 2, None)
    # f: a 52 of 64, b 12 of 16; their median is 0.78125.
    np.testing.assert_allclose(median_frequency(data), [0.78125 / 0.8125, 0.78125 / 0.75], rtol=1e-6)


def test_an_ignored_id_below_the_class_count_does_not_count(tmp_path: Path) -> None:
    """Else the ignored class, often the largest, would move the median of all others."""
    data = split(tmp_path, [quarters(0, 1, 1, 2)], 3, 0)
    # f = 0.5 and 0.25; their median is 0.375.
    np.testing.assert_allclose(median_frequency(data), [1.0, 0.75, 1.5], rtol=1e-6)


def test_ignored_images_give_ones(tmp_path: Path) -> None:
    assert median_frequency(split(tmp_path, [quarters(255, 255, 255, 255)], 2, 255)).tolist() == [1.0, 1.0]


def test_threads_change_nothing(shapes_dataset: Path) -> None:
    data = open_split(shapes_dataset, "train")
    one, four = (sqrt_median_frequency(data, num_threads=n) for n in (1, 4))
    assert (one == four).all()
    assert (one[1:] > one[0]).all()  # the wall is most of every image


def test_a_broken_label_is_said_in_the_callers_thread(tmp_path: Path) -> None:
    data = split(tmp_path, [quarters(0, 1, 1, 2)] * 3, 3, None)
    data.pairs[1][1].write_bytes(b"")
    with pytest.raises(BadExample, match=r"1\.png"):
        median_frequency(data)


def test_given_by_list_and_by_name() -> None:
    assert given([1, 2.5, 0], ("sky", "road", "car")).tolist() == [1.0, 2.5, 0.0]
    weights = given({"car": 3.0}, ("sky", "road", "car"))
    assert weights.tolist() == [1.0, 1.0, 3.0]
    assert weights.dtype == np.float32


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0, 2.0], "2 class weights for 3 classes; one for each, or by name: sky, road, car"),
        ({"raod": 2.0}, r"'raod', which is no class\. Did you mean 'road'\? Classes: sky, road, car"),
        ([1.0, -2.0, 1.0], r"0 or more, not all 0, got 1\.0, -2\.0, 1\.0"),
        ([0, 0, 0], "not all 0"),
        ([1.0, float("nan"), 1.0], "nan"),
    ],
)
def test_bad_weights_are_refused(weights: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        given(weights, ("sky", "road", "car"))
