from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeseg.drawing.overlay import Overlay
from edgeseg.imaging import enlarge

COLORS = np.arange(256, dtype=np.uint8)[:, None] * np.array([0, 1, 0], np.uint8)
ALL = np.ones(256, bool)
WHITE = [255, 255, 255]


def _drawn(class_map: np.ndarray, shown: np.ndarray = ALL, size: tuple[int, int] | None = None) -> np.ndarray:
    """The layer alone, on an image of 7."""
    image = np.full((*(size or class_map.shape), 3), 7, np.uint8)
    return Overlay(COLORS, shown, alpha=1.0)(image, class_map)


def _expected(ids: np.ndarray, shown: np.ndarray, line: int) -> np.ndarray:
    """The same, pixel by pixel."""
    drawn = np.where(shown[ids][..., None], COLORS[ids], 7)
    merged = np.where(shown[ids], ids, -1)
    for y, x in np.ndindex(*ids.shape):
        left = any(merged[y, x - k] != merged[y, x - k - 1] for k in range(line) if x - k > 0)
        above = any(merged[y - k, x] != merged[y - k - 1, x] for k in range(line) if y - k > 0)
        if left or above:
            drawn[y, x] = WHITE
    return drawn.astype(np.uint8)


@pytest.mark.parametrize("size", [(20, 30), (43, 64), (50, 71), (20, 64), (60, 30), (13, 64), (9, 11)])
def test_every_border_between_classes_has_a_line(size: tuple[int, int]) -> None:
    class_map = np.random.default_rng(0).integers(0, 4, (20, 30), np.uint8)
    hidden = ALL.copy()
    hidden[[0, 2, 9]] = False
    ids = enlarge(class_map, np.empty(size, np.uint8))
    for shown in (ALL, hidden):
        np.testing.assert_array_equal(_drawn(class_map, shown, size), _expected(ids, shown, 1))


@pytest.mark.parametrize("small", [(6, 3), (250, 3), (719, 3), (720, 4), (800, 4)])
def test_the_line_is_thicker_on_large_images(small: tuple[int, int]) -> None:
    class_map = cv2.resize(
        np.random.default_rng(0).integers(0, 3, (6, 3), np.uint8), small[::-1], interpolation=cv2.INTER_NEAREST
    )
    ids = enlarge(class_map, np.empty((720, 12), np.uint8))
    np.testing.assert_array_equal(_drawn(class_map, ALL, (720, 12)), _expected(ids, ALL, 2))


@pytest.mark.parametrize("size", [(129, 9), (700, 9)])
def test_bands_of_a_large_map_do_not_show(size: tuple[int, int]) -> None:
    ids = np.random.default_rng(0).integers(0, 5, size, np.uint8)
    shown = np.arange(256) != 3
    line = max(1, round(size[0] / 480))
    np.testing.assert_array_equal(_drawn(ids, shown), _expected(ids, shown, line))


def test_one_class_has_no_line_and_hidden_classes_have_none_between_them() -> None:
    assert (_drawn(np.full((8, 8), 3, np.uint8)) == (0, 3, 0)).all()
    shown = ALL.copy()
    shown[[1, 2]] = False
    assert (_drawn(np.array([[1, 2, 1, 2]] * 4, np.uint8), shown) == 7).all()


def test_all_of_256_classes_may_be_shown_or_hidden() -> None:
    class_map = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(_drawn(class_map), _expected(class_map, ALL, 1))
    assert (_drawn(class_map, ~ALL) == 7).all()
