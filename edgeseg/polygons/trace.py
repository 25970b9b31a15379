"""Trace the areas of a mask as polygons with holes, along the sides of its pixels.

Coordinates are continuous, ``(x, y)`` from the image's top left corner: pixel (0, 0) covers [0, 1] x [0, 1], and its
center is (0.5, 0.5). So a polygon has the area of its pixels, and drawn by the centers of pixels it is the mask again.

Areas are connected over the sides of pixels. Pixels that touch at a corner alone are of two areas, as in GDAL: rings
that touched themselves there would be no simple features. At such a corner both rings are cut, so that none touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.polygons.raster import drawn, ring_area
from edgeseg.polygons.simplify import LOSSLESS, simplified

#: How much of the overlap (IoU) of an area and its polygon, drawn again, a pixel of tolerance may cost: 0.01 at 0.5.
LOSS_PER_PIXEL = 0.02


@dataclass(frozen=True, eq=False)
class Polygon:
    """A connected area of a mask.

    Attributes:
        exterior: ``(N, 2)`` float64 ``(x, y)`` in pixels from the top left corner of the image, the ring around the
            area; its first corner is not repeated. The sum of ``x0 * y1 - x1 * y0`` over its sides is positive.
        holes: likewise for each hole, with a negative sum.
        area: number of pixels, without the holes.
    """

    exterior: NDArray[np.float64]
    holes: tuple[NDArray[np.float64], ...]
    area: int

    __repr__ = short_repr

    @property
    def rings(self) -> tuple[NDArray[np.float64], ...]:
        """The exterior, and the holes after it."""
        return (self.exterior, *self.holes)


@dataclass(frozen=True)
class _Ring:
    """A border along the sides of pixels: its corners, and where it touches another border, or itself."""

    corners: NDArray[np.int64]
    touches: NDArray[np.bool_]


def polygons_of(mask: NDArray[np.bool_], *, min_area: int = 1, tolerance: float = 0.0) -> list[Polygon]:
    """Trace the connected areas of a mask, the largest first.

    Args:
        mask: ``(h, w)`` bool.
        min_area: smaller areas are omitted, in pixels; holes are all kept.
        tolerance: how far a side may pass from the pixels' sides that it replaces, in pixels; 0 keeps every corner. Up
            to 0.5 a polygon drawn again is its area, and no two rings touch. Above, a polygon whose overlap (IoU) with
            its area would fall under ``1 - 0.02 * tolerance`` is simplified less, and rings may cross.

    Returns:
        The polygons; none where the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    origin = np.array([columns[0], rows[0]])
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas: list[int] = stats[:, cv2.CC_STAT_AREA].tolist()
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    large[0] = False
    exteriors: dict[int, _Ring] = {}
    holes: dict[int, list[_Ring]] = {}
    for label, ring in _rings(np.asarray(labels, np.int32), large[labels], origin):
        if ring_area(ring.corners.astype(np.float64)) > 0:
            exteriors[label] = ring
        else:
            holes.setdefault(label, []).append(ring)
    order = sorted(exteriors, key=lambda label: -areas[label])
    boxes = {label: stats[label, :4].tolist() for label in order} if tolerance > 0.5 else {}
    polygons = []
    for label in order:
        rings = (exteriors[label], *holes.get(label, ()))
        polygon = _polygon(rings, areas[label], min(tolerance, LOSSLESS))
        if boxes:
            left, top, width, height = boxes[label]
            area = labels[top : top + height, left : left + width] == label
            polygon = _simpler(rings, polygon, area, origin + np.array([left, top]), tolerance)
        polygons.append(polygon)
    return polygons


def _polygon(rings: tuple[_Ring, ...], area: int, tolerance: float) -> Polygon:
    exterior, *holes = (simplified(ring.corners, ring.touches, tolerance) for ring in rings)
    return Polygon(exterior, tuple(holes), area)


def _simpler(
    rings: tuple[_Ring, ...],
    lossless: Polygon,
    area: NDArray[np.bool_],
    corner_xy: NDArray[np.int64],
    tolerance: float,
) -> Polygon:
    """Return the polygon at a tolerance above 0.5, or at the largest half, quarter and so on that keeps the overlap."""
    least = 1 - LOSS_PER_PIXEL * tolerance
    while tolerance > 0.5:
        polygon = _polygon(rings, lossless.area, tolerance)
        if min(map(len, polygon.rings)) >= 3:
            again = drawn([ring - corner_xy for ring in polygon.rings], (area.shape[0], area.shape[1]))
            if (again & area).sum() >= least * (again | area).sum() and ring_area(polygon.exterior) > 0:
                return polygon
        tolerance /= 2
    return lossless


def _rings(
    labels: NDArray[np.int32], inside: NDArray[np.bool_], origin: NDArray[np.int64]
) -> Iterator[tuple[int, _Ring]]:
    """Yield every border of the areas, with the label of its area, which lies at its right on a screen.

    The corners of the borders, row by row, are the ends of their horizontal pieces by turns; column by column those of
    their vertical pieces. A corner at which two areas touch is one of each.
    """
    padded = np.pad(inside, 1)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    crossing = (nw == se) & (ne == sw) & (nw != ne)
    ys, xs = np.nonzero(((nw ^ ne) | (sw ^ se)) & ((nw ^ sw) | (ne ^ se)))
    touches = crossing[ys, xs]
    times = 1 + touches
    ys, xs, touches = (np.repeat(values, times) for values in (ys, xs, touches))
    if not len(ys):
        return
    # Of two corners at one place the first has the piece at the left; the piece above, where the area is at the left
    # above; else the piece below.
    second = np.zeros(len(ys), np.int8)
    second[1:] = touches[1:] & touches[:-1] & (ys[1:] == ys[:-1]) & (xs[1:] == xs[:-1])
    below = second ^ (touches & ne[ys, xs])
    columns = np.lexsort((below, ys, xs))
    partner = np.empty(len(ys), np.int64)
    partner[columns[::2]], partner[columns[1::2]] = columns[1::2], columns[::2]
    # Each horizontal piece is passed with the area below it from left to right, with the area above from right to left.
    left = np.arange(0, len(ys), 2)
    area_below = se[ys[left], xs[left]]
    tail = np.where(area_below, left, left + 1)
    head = np.where(area_below, left + 1, left)
    label = labels[ys[left] - ~area_below, xs[left]]
    following = (partner[head] // 2).tolist()
    seen = bytearray(len(following))
    for first in range(len(following)):
        if seen[first]:
            continue
        pieces = []
        piece = first
        while not seen[piece]:
            seen[piece] = 1
            pieces.append(piece)
            piece = following[piece]
        ends = np.stack([tail[pieces], head[pieces]], axis=1).ravel()
        yield int(label[first]), _Ring(np.stack([xs[ends], ys[ends]], axis=1) + origin, touches[ends])
