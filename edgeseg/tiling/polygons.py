"""Trace the areas of a class map as polygons with holes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr


@dataclass(frozen=True, eq=False)
class Polygon:
    """A connected area of one class; pixels that touch at a corner are connected.

    Attributes:
        exterior: ``(N, 2)`` int32 ``(x, y)``, the pixels of the area's outer border, in order.
        holes: likewise for each hole: the pixels of the area around it.
        area: number of pixels, without the holes.
    """

    exterior: NDArray[np.int32]
    holes: tuple[NDArray[np.int32], ...]
    area: int

    __repr__ = short_repr


def polygons_of(mask: NDArray[np.bool_], *, min_area: int = 1) -> list[Polygon]:
    """Trace the connected areas of a mask, the largest first.

    Args:
        mask: ``(h, w)`` bool.
        min_area: smaller areas are omitted, in pixels.

    Returns:
        Polygons whose corners are the borders' pixels; what lies on a straight line between two is omitted. Filled with
        their borders, as ``cv2.drawContours`` does, they are the mask again.
    """
    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None:
        return []
    points = [contour[:, 0].astype(np.int32, copy=False) for contour in contours]
    holes: dict[int, list[NDArray[np.int32]]] = {}
    for outline, (_, _, _, parent) in zip(points, tree[0], strict=True):
        if parent >= 0:
            holes.setdefault(int(parent), []).append(outline)
    polygons = [
        Polygon(outline, tuple(holes.get(index, ())), _area(outline, holes.get(index, [])))
        for index, (outline, (_, _, _, parent)) in enumerate(zip(points, tree[0], strict=True))
        if parent < 0
    ]
    return sorted((one for one in polygons if one.area >= min_area), key=lambda one: -one.area)


def _area(exterior: NDArray[np.int32], holes: list[NDArray[np.int32]]) -> int:
    """Count the pixels of an area by drawing it alone."""
    corner = exterior.min(axis=0)
    width, height = exterior.max(axis=0) - corner + 1
    canvas = np.zeros((height, width), np.uint8)
    cv2.drawContours(canvas, [outline - corner for outline in (exterior, *holes)], -1, 1, cv2.FILLED)
    return int(cv2.countNonZero(canvas))
