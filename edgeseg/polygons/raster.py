"""Draw polygons as masks by one rule: a pixel is inside where its center is, as GDAL rasterizes without "all touched".

Libraries at hand have other rules: OpenCV and Pillow fill the pixels that the border crosses too, which makes an area
larger by half a pixel on every side.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Crossings of rows that are computed at a time: 16 million take 0.5 GB.
_MOST_CROSSINGS = 1 << 22


def drawn(rings: Iterable[NDArray[np.float64]], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw rings as a mask; what an even number of them contains is outside, so that holes are holes.

    Args:
        rings: each ``(N, 2)`` float ``(x, y)``, continuous: pixel (0, 0) covers [0, 1] x [0, 1]. They may leave the
            image.
        size_hw: ``(h, w)`` of the mask.

    Returns:
        ``(h, w)`` bool.
    """
    height, width = size_hw
    # Crossings of each row, at the first pixel whose center is right of them; the sum over a row says where it is in.
    flips = np.zeros(height * (width + 1), np.int32)
    for ring in rings:
        start = np.asarray(ring, np.float64)
        end = np.roll(start, -1, axis=0)
        # Rows whose center lies from the upper end, inclusive, to the lower one: each corner counts for one side.
        top, bottom = (
            np.clip(np.ceil(edge(start[:, 1], end[:, 1]) - 0.5), 0, height).astype(np.int64)
            for edge in (np.minimum, np.maximum)
        )
        for first, last in _chunks(bottom - top):
            a, b, begin, rows = start[first:last], end[first:last], top[first:last], (bottom - top)[first:last]
            side = np.repeat(np.arange(last - first), rows)
            row = np.arange(len(side)) - np.repeat(np.cumsum(rows) - rows, rows) + begin[side]
            height_of = b[side, 1] - a[side, 1]
            x = a[side, 0] + (row + 0.5 - a[side, 1]) / height_of * (b[side, 0] - a[side, 0])
            column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
            flips += np.bincount(row * (width + 1) + column, minlength=len(flips)).astype(np.int32)
    inside = np.cumsum(flips.reshape(height, width + 1)[:, :width], axis=1) & 1
    return inside.astype(bool)


def _chunks(rows: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Yield ranges of sides that cross so many rows at most, or one side."""
    total = np.cumsum(rows)
    first = 0
    while first < len(rows):
        before = int(total[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(total, before + _MOST_CROSSINGS, side="right")))
        yield first, last
        first = last


def ring_area(ring: NDArray[np.float64]) -> float:
    """Return the signed area of a ring ``(N, 2)``: half the sum of ``x0 * y1 - x1 * y0`` over its sides."""
    points = ring - ring[0]  # coordinates of a map have seven digits before the point
    after = np.roll(points, -1, axis=0)
    return float((points[:, 0] * after[:, 1] - after[:, 0] * points[:, 1]).sum() / 2)
