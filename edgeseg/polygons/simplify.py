"""Replace the stairs of a traced ring by straight sides that pass every pixel's side near its middle.

A Douglas-Peucker simplification begins and ends its sides at outer corners of the stairs, half a pixel off, so that at
a tolerance of half a pixel it keeps nearly all of them. Here a side goes from the middle of one pixel's side to the
middle of another, and each pixel's side that it replaces is passed within the tolerance of its own middle. Up to half a
pixel this loses nothing: no side passes over the center of a pixel, so that the polygon drawn again is its mask; and as
every side stays in the squares between four centers that the border passes, no two rings touch or cross.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: The largest tolerance that loses nothing; at 0.5 a side might pass through the center of a pixel.
LOSSLESS = 0.4999

# A corner between two straight pieces of at least this many pixels is no stair: it is kept.
_STRAIGHT = 3

# How much of the two sides is cut off at a corner where two areas touch.
_CUT = 0.25


def simplified(corners: NDArray[np.int64], touches: NDArray[np.bool_], tolerance: float) -> NDArray[np.float64]:
    """Return the corners of the simpler ring.

    Args:
        corners: ``(N, 2)`` of a ring along the sides of pixels, horizontal and vertical by turns, N at least 4.
        touches: ``(N,)`` bool: where another area, or this one, touches the corner.
        tolerance: how far a side may pass from the middle of each pixel's side that it replaces, along the line through
            the centers of the two pixels there. 0 keeps every corner.

    Returns:
        ``(M, 2)`` float64.
    """
    before = corners - np.roll(corners, 1, axis=0)
    after = np.roll(before, -1, axis=0)
    length = np.abs(after).sum(axis=1)
    if tolerance <= 0 or len(corners) == 4:
        return _exact(corners, touches, np.sign(before), np.sign(after))
    straight = length >= _STRAIGHT
    fixed = straight & np.roll(straight, 1) & ~touches
    stations = _stations(corners, np.sign(after), length, fixed)
    # Begin at a corner that is kept anyway, else at the longest straight piece.
    first = next((number for number, one in enumerate(stations) if one[2]), None)
    if first is None:
        runs = [
            abs(b[0] - a[0]) + abs(b[1] - a[1]) for a, b in zip(stations, [*stations[1:], stations[0]], strict=True)
        ]
        first = int(np.argmax(runs))
    stations = [*stations[first:], *stations[: first + 1]]
    ring: list[tuple[float, float]] = []
    position, last = 0, len(stations) - 1
    while position < last:
        ring.append(stations[position][:2])
        position = _farthest(stations, position, last, tolerance)
    # A ring that fell into a line is one of a large tolerance; the caller takes a smaller one.
    return np.array(ring, np.float64)


#: ``(x, y)`` of what a side may begin at; whether it must; whether the pixel's side there is horizontal.
_Station = tuple[float, float, bool, bool]


def _exact(
    corners: NDArray[np.int64], touches: NDArray[np.bool_], before: NDArray[np.int64], after: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return all corners, those that touch another area cut off."""
    ring = np.repeat(corners.astype(np.float64), 1 + touches, axis=0)
    at = np.flatnonzero(touches) + np.arange(int(touches.sum()))
    ring[at] -= _CUT * before[touches]
    ring[at + 1] += _CUT * after[touches]
    return ring


def _stations(
    corners: NDArray[np.int64], direction: NDArray[np.int64], length: NDArray[np.int64], fixed: NDArray[np.bool_]
) -> list[_Station]:
    """Return the kept corners, and the middles of the first and last pixel's side of each straight piece.

    What lies between those two is on one line with them: a straight side that passes near both passes near all.
    """
    stations: list[_Station] = []
    for (x, y), (dx, dy), pixels, keep in zip(
        corners.tolist(), direction.tolist(), length.tolist(), fixed.tolist(), strict=True
    ):
        if keep:
            stations.append((x, y, True, False))
        stations.append((x + dx / 2, y + dy / 2, False, dx != 0))
        if pixels > 1:
            stations.append((x + dx * (pixels - 0.5), y + dy * (pixels - 0.5), False, dx != 0))
    return stations


def _farthest(stations: list[_Station], position: int, last: int, tolerance: float) -> int:
    """Return the last station that a straight side from one reaches, past all between within the tolerance.

    The directions that pass all stations so far are a wedge, from its right to its left side; each station narrows it.
    """
    x0, y0, _, _ = stations[position]
    reached = position + 1  # the next is always reached: nothing lies between
    right_x = right_y = left_x = left_y = 0.0
    for number in range(position + 1, last + 1):
        x, y, keep, horizontal = stations[number]
        x, y = x - x0, y - y0
        if number > position + 1:
            if right_x * y - right_y * x >= 0 and x * left_y - y * left_x >= 0:
                reached = number
            elif keep:
                break
        if keep:  # a side ends here, or earlier
            break
        # The ends of what may be passed: across a horizontal side of a pixel it is vertical.
        ax, ay = (x, y - tolerance) if horizontal else (x - tolerance, y)
        bx, by = (x, y + tolerance) if horizontal else (x + tolerance, y)
        across = ax * by - ay * bx
        if across < 0:
            ax, ay, bx, by = bx, by, ax, ay
        elif across == 0 and ax * bx + ay * by <= 0:
            break  # it begins inside: any direction would pass
        if number == position + 1:
            right_x, right_y, left_x, left_y = ax, ay, bx, by
            continue
        if right_x * ay - right_y * ax > 0:
            right_x, right_y = ax, ay
        if bx * left_y - by * left_x > 0:
            left_x, left_y = bx, by
        if right_x * left_y - right_y * left_x < 0:
            break
    return reached
