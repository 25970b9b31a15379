"""``trace``, ``simplify``, ``raster``: polygons are the mask again, are simple, and simpler than its stairs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeseg.polygons.raster import drawn, ring_area
from edgeseg.polygons.trace import LOSS_PER_PIXEL, Polygon, polygons_of

Mask = NDArray[np.bool_]


def again(polygons: list[Polygon], mask: Mask) -> Mask:
    return drawn([ring for polygon in polygons for ring in polygon.rings], (mask.shape[0], mask.shape[1]))


def overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def disc(radius: int) -> Mask:
    side = 2 * radius + 11
    return cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), radius, 1, cv2.FILLED).astype(bool)


def ring(size: int) -> Mask:
    mask = np.zeros((size, size), bool)
    mask[1:-1, 1:-1] = True
    mask[3:-3, 3:-3] = False
    return mask


def noise(density: float) -> Mask:
    return np.random.default_rng(0).random((40, 50)) < density


BLOBS: Mask = cv2.GaussianBlur(np.random.default_rng(1).random((80, 90)), (0, 0), 3) > 0.5
LINE: Mask = cv2.line(np.zeros((60, 90), np.uint8), (4, 5), (80, 41), 1, 1).astype(bool)
MASKS = {
    **{f"noise {density}": noise(density) for density in (0.05, 0.5, 0.95)},
    **{"blobs": BLOBS, "line": LINE, "ring": ring(12), "all": np.ones((5, 7), bool), "diagonal": np.eye(9, dtype=bool)},
    **{"none": np.zeros((4, 4), bool), "pixel": np.ones((1, 1), bool), "disc": disc(30)},
}


def test_coordinates_are_the_sides_of_pixels() -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:4, 2:7] = True
    (polygon,) = polygons_of(mask, tolerance=0.5)
    assert polygon.exterior.tolist() == [[2, 1], [7, 1], [7, 4], [2, 4]]
    assert (polygon.area, ring_area(polygon.exterior)) == (15, 15)


def test_a_ring_is_one_polygon_with_one_hole() -> None:
    (polygon,) = polygons_of(ring(9))
    assert polygon.area == 7 * 7 - 3 * 3
    (hole,) = polygon.holes
    assert (ring_area(polygon.exterior), ring_area(hole)) == (49, -9)


def test_the_largest_comes_first_and_small_ones_can_be_omitted() -> None:
    mask = np.zeros((10, 20), bool)
    mask[0, 0] = mask[4:8, 10:14] = mask[9, 5:8] = True
    assert [one.area for one in polygons_of(mask)] == [16, 3, 1]
    assert [one.area for one in polygons_of(mask, min_area=3)] == [16, 3]


@pytest.mark.parametrize("tolerance", [0, 0.2, 0.5])
@pytest.mark.parametrize("name", MASKS)
def test_up_to_half_a_pixel_polygons_drawn_again_are_the_mask(name: str, tolerance: float) -> None:
    mask = MASKS[name]
    polygons = polygons_of(mask, tolerance=tolerance)
    np.testing.assert_array_equal(again(polygons, mask), mask)
    assert sum(one.area for one in polygons) == mask.sum()
    for polygon in polygons:
        alone = again([polygon], mask)
        assert alone.sum() == polygon.area
        assert cv2.connectedComponents(alone.astype(np.uint8), connectivity=4)[0] == 2


@pytest.mark.parametrize("tolerance", [0, 0.5])
@pytest.mark.parametrize("name", ["noise 0.5", "noise 0.95", "blobs", "diagonal"])
def test_up_to_half_a_pixel_no_sides_touch(name: str, tolerance: float) -> None:
    rings = [ring for polygon in polygons_of(MASKS[name][:24, :30], tolerance=tolerance) for ring in polygon.rings]
    starts, ends = np.concatenate(rings), np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    number = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    assert touching(starts, ends, number) == []


def touching(
    starts: NDArray[np.float64], ends: NDArray[np.float64], number: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Pairs of sides that have a point in common, but for those that follow each other in a ring."""

    def side_of(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
        (ux, uy), (vx, vy) = np.moveaxis(b - a, -1, 0), np.moveaxis(c - a, -1, 0)
        return np.sign(ux * vy - uy * vx)

    a, b, c, d = starts[:, None], ends[:, None], starts[None], ends[None]
    meet = (side_of(a, b, c) * side_of(a, b, d) <= 0) & (side_of(c, d, a) * side_of(c, d, b) <= 0)
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    meet &= ((low[:, None] <= high[None]) & (low[None] <= high[:, None])).all(axis=-1)
    follow = (b == c).all(axis=-1) | (d == a).all(axis=-1)
    meet &= ~(follow & (number[:, None] == number[None]))
    return [(i, j) for i, j in zip(*np.nonzero(np.triu(meet, 1)), strict=True)]


def test_sides_that_touch_are_seen() -> None:
    bow = np.array([[0, 0], [2, 2], [2, 0], [0, 2]], np.float64)
    assert touching(bow, np.roll(bow, -1, axis=0), np.zeros(4, np.int64)) == [(0, 2)]


def test_stairs_become_straight() -> None:
    (exact,), (simple,) = polygons_of(disc(40)), polygons_of(disc(40), tolerance=0.5)
    assert len(simple.exterior) <= len(exact.exterior) / 4
    # Sides pass the middles of the stairs on both sides: what a side takes from one it gives to the next.
    assert ring_area(simple.exterior) == pytest.approx(exact.area, rel=0.002)
    (triangle,) = polygons_of(np.tri(50, 60, dtype=bool), tolerance=0.3)
    assert len(triangle.exterior) == 5


def test_corners_of_straight_sides_are_kept() -> None:
    mask = np.zeros((30, 30), bool)
    mask[2:20, 3:9] = mask[14:20, 3:27] = True
    (polygon,) = polygons_of(mask, tolerance=0.5)
    assert sorted(map(tuple, polygon.exterior)) == [(3, 2), (3, 20), (9, 2), (9, 14), (27, 14), (27, 20)]


@pytest.mark.parametrize("tolerance", [1.0, 3.0, 25.0])
def test_above_half_a_pixel_the_overlap_keeps_its_bound(tolerance: float) -> None:
    for name in ("blobs", "disc", "line", "ring", "noise 0.95"):
        labels = cv2.connectedComponents(MASKS[name].astype(np.uint8), connectivity=4)[1]
        polygons = polygons_of(MASKS[name], tolerance=tolerance)
        for polygon in polygons:
            alone = again([polygon], MASKS[name])
            area = labels == np.bincount(labels[alone & MASKS[name]]).argmax()
            assert overlap(alone, area) >= 1 - LOSS_PER_PIXEL * tolerance
    corners = [sum(len(ring) for one in polygons_of(BLOBS, tolerance=t) for ring in one.rings) for t in (0, 0.5, 2, 8)]
    assert corners == sorted(corners, reverse=True)


def test_a_pixel_is_inside_where_its_center_is() -> None:
    triangle = np.array([[0, 0], [4, 0], [0, 4]], np.float64)
    expected = np.add.outer(np.arange(4), np.arange(4)) + 1 < 4  # x + y of the center is below 4
    np.testing.assert_array_equal(drawn([triangle], (4, 4)), expected)
    far = np.array([[-1e5, -1e5], [1e5, -1e5], [1e5, 1e5], [-1e5, 1e5]])
    assert drawn([far], (3, 5)).all()
    assert not drawn([far + 1e6], (3, 5)).any()
    assert not drawn([], (3, 5)).any()


@pytest.mark.parametrize("name", ["camvid", "cells"])
def test_real_masks(name: str, request: pytest.FixtureRequest) -> None:
    path = min(request.getfixturevalue(name).glob("**/labels/*.png"))
    label = np.asarray(Image.open(path))
    corners = {0.0: 0, 0.5: 0}
    for class_id in np.unique(label):
        for tolerance in corners:
            polygons = polygons_of(label == class_id, tolerance=tolerance)
            np.testing.assert_array_equal(again(polygons, label), label == class_id)
            corners[tolerance] += sum(len(ring) for one in polygons for ring in one.rings)
    assert corners[0.5] < 0.6 * corners[0]  # measured: 0.53 and 0.35
