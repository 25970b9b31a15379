"""Join the holes of a polygon to its exterior by cuts without width, for formats whose polygons have no holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseg.polygons.trace import Polygon


def without_holes(polygon: Polygon) -> NDArray[np.float64]:
    """Return one ring ``(N, 2)`` that goes to each hole, around it, and back the same way.

    The cut of a hole goes from its leftmost corner to the left, to the nearest side of the exterior or of a hole that
    is joined already: it lies in the area, so that nothing is drawn twice.
    """
    ring = polygon.exterior
    for hole in sorted(polygon.holes, key=lambda hole: float(hole[:, 0].min())):
        first = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        x, y = hole[first]
        side, meets = _left_of(ring, x, y)
        way = np.array([[meets, y]])
        around = np.roll(hole, -first, axis=0)
        ring = np.concatenate([ring[: side + 1], way, around, around[:1], way, ring[side + 1 :]])
    return ring


def _left_of(ring: NDArray[np.float64], x: float, y: float) -> tuple[int, float]:
    """Return the side of a ring that is nearest at the left of a point, and where a level line meets it."""
    after = np.roll(ring, -1, axis=0)
    low, high = np.minimum(ring[:, 1], after[:, 1]), np.maximum(ring[:, 1], after[:, 1])
    sides = np.flatnonzero((low <= y) & (y < high))
    (x0, y0), (x1, y1) = ring[sides].T, after[sides].T
    meets = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    at_left = np.flatnonzero(meets <= x)
    nearest = at_left[np.argmax(meets[at_left])]
    return int(sides[nearest]), float(meets[nearest])
