"""``edgeseg.datasets.statistics``: sizes of images."""

from __future__ import annotations

import json

import pytest

from edgeseg.datasets.statistics import ImageSizes, as_option, input_size_near
from edgeseg.models.zoo.table import ZOO


def test_sizes_are_counted_and_ordered_by_their_pixels() -> None:
    sizes = ImageSizes.of([(30, 40), (10, 80), (30, 40), (100, 50), (20, 20)])
    assert (sizes.smallest, sizes.median, sizes.largest) == ((20, 20), (30, 40), (100, 50))
    assert sizes.aspect == (0.5, 8.0)
    assert sizes.line() == (
        "image sizes (HxW): 4; smallest 20x20, median 30x40, largest 100x50; width to height 0.50 to 8.00"
    )
    assert json.loads(json.dumps(sizes.to_dict())) == {
        "num_sizes": 4,
        "smallest": [20, 20],
        "median": [30, 40],
        "largest": [100, 50],
        "aspect": [0.5, 8.0],
    }


def test_the_median_of_an_even_number_is_the_smaller_of_the_two_in_the_middle() -> None:
    """It is a size that an image has."""
    assert ImageSizes.of([(1, 1), (2, 2), (3, 3), (4, 4)]).median == (2, 2)


def test_one_size_and_none_have_a_line_too() -> None:
    assert ImageSizes.of([(360, 480)] * 3).line() == "image sizes (HxW): all 360x480; width to height 1.33"
    nothing = ImageSizes.of([])
    assert nothing.line() == "image sizes (HxW): none"
    assert set(nothing.to_dict().values()) == {0, None}


@pytest.mark.parametrize(
    ("size", "scale", "near"), [((360, 480), 1.0, (352, 480)), ((1080, 1920), 0.5, (544, 960)), ((20, 20), 1, (64, 64))]
)
def test_every_model_of_the_zoo_takes_the_nearest_size(
    size: tuple[int, int], scale: float, near: tuple[int, int]
) -> None:
    assert input_size_near(size, scale) == near
    for model in ZOO.values():
        model.check_size(near)


def test_a_square_is_typed_as_one_number() -> None:
    assert (as_option((512, 512)), as_option((480, 640))) == ("512", "480,640")
