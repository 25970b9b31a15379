from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.tiling.polygons import Polygon, polygons_of


def drawn(polygons: list[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        alone = np.zeros(shape, np.uint8)
        cv2.drawContours(alone, [polygon.exterior, *polygon.holes], -1, 1, cv2.FILLED)
        canvas |= alone
    return canvas.astype(bool)


def ring(size: int) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), bool)
    mask[1:-1, 1:-1] = True
    mask[3:-3, 3:-3] = False
    return mask


def test_a_ring_is_one_polygon_with_one_hole() -> None:
    (polygon,) = polygons_of(ring(9))
    assert polygon.area == 7 * 7 - 3 * 3
    assert polygon.exterior.tolist() == [[1, 1], [1, 7], [7, 7], [7, 1]]
    assert len(polygon.holes) == 1


def test_the_largest_comes_first_and_small_ones_can_be_omitted() -> None:
    mask = np.zeros((10, 20), bool)
    mask[0, 0] = mask[4:8, 10:14] = mask[9, 5:8] = True
    assert [one.area for one in polygons_of(mask)] == [16, 3, 1]
    assert [one.area for one in polygons_of(mask, min_area=3)] == [16, 3]
    assert polygons_of(np.zeros((4, 4), bool)) == []


@pytest.mark.parametrize("density", [0.05, 0.5, 0.95])
def test_polygons_drawn_again_are_the_mask(density: float) -> None:
    noise = np.random.default_rng(0).random((40, 50)) < density
    blobs = cv2.GaussianBlur(np.random.default_rng(1).random((80, 90)), (0, 0), 3) > 0.5
    for mask in (noise, blobs, ring(12), np.ones((5, 7), bool)):
        polygons = polygons_of(mask)
        np.testing.assert_array_equal(drawn(polygons, mask.shape), mask)
        assert sum(one.area for one in polygons) == mask.sum()
