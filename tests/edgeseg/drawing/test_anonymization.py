from __future__ import annotations

import numpy as np
import pytest

from edgeseg.drawing.anonymization import Anonymization
from edgeseg.imaging import enlarge

PERSON = 1


def _anonymize(image: np.ndarray, class_map: np.ndarray) -> np.ndarray:
    ids = np.zeros(256, bool)
    ids[PERSON] = True
    drawn = image.copy()
    assert Anonymization(ids)(drawn, class_map) is drawn
    return drawn


@pytest.fixture
def noise() -> np.ndarray:
    """``(480, 640, 3)`` uint8: as many details as there can be."""
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def test_no_other_pixel_changes_and_the_area_grows_a_little(noise: np.ndarray) -> None:
    class_map = np.zeros((480, 640), np.uint8)
    class_map[100:400, 200:400] = PERSON
    changed = (_anonymize(noise, class_map) != noise).any(axis=-1)
    assert changed[92:408, 192:408].mean() > 0.99  # 480 / 48 less a row of the area, and a value may be its block's
    assert not changed[:70].any()
    assert not changed[430:].any()
    assert not changed[:, :170].any()
    assert not changed[:, 430:].any()


def test_a_hole_in_an_area_is_filled(noise: np.ndarray) -> None:
    class_map = np.zeros((480, 640), np.uint8)
    class_map[100:400, 200:400] = PERSON
    class_map[200:280, 250:330] = 0
    changed = (_anonymize(noise, class_map) != noise).any(axis=-1)
    assert changed[200:280, 250:330].mean() > 0.99  # a pixel may have its block's color by chance


@pytest.mark.parametrize("side", [40, 100, 200, 300, 480])
def test_an_area_has_few_blocks(noise: np.ndarray, side: int) -> None:
    """A square of any size, such as a face that fills the frame, is 5 blocks across at most."""
    class_map = np.zeros((480, 640), np.uint8)
    top, left = (480 - side) // 2, (640 - side) // 2
    class_map[top : top + side, left : left + side] = PERSON
    inside = _anonymize(noise, class_map)[top : top + side, left : left + side]
    # 4 across what is grown on both sides, whose grid may begin inside.
    for line in (inside[side // 2], inside[:, side // 2]):
        assert (np.diff(line.astype(int), axis=0) != 0).any(axis=-1).sum() <= 5


def test_a_small_map_draws_about_what_the_enlarged_one_does(noise: np.ndarray) -> None:
    small = np.zeros((96, 128), np.uint8)
    small[20:70, 30:60] = PERSON
    large = enlarge(small, np.empty((480, 640), np.uint8))
    a, b = ((_anonymize(noise, class_map) != noise).any(axis=-1) for class_map in (small, large))
    assert (a != b).mean() < 0.02  # a row of the smaller map is 5 pixels


def test_an_image_without_the_class_stays(noise: np.ndarray) -> None:
    assert (_anonymize(noise, np.full((48, 64), 2, np.uint8)) == noise).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (7, 3)])
def test_any_frame(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 9, np.uint8)
    assert (_anonymize(image, np.full(size, PERSON, np.uint8)) == 9).all()


def test_a_thin_area_in_a_large_map_does_not_vanish() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1200, 900, 3), np.uint8)
    class_map = np.zeros((1200, 900), np.uint8)
    class_map[:, 451] = PERSON  # one pixel wide
    assert (_anonymize(image, class_map)[:, 451] != image[:, 451]).any(axis=-1).mean() > 0.99
