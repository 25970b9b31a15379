"""Segment an image of any size window by window, and put the windows together row by row.

What is kept of a band of windows is only the rows that it has in common with the next one, so that the memory grows
with the width of an image and not with its height: columns x overlap x classes x 4 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg.tiling.windows import Axis, Grid

#: Scores ``(h, w, C)`` float32 of a window ``(h, w, 3)`` uint8 RGB, and class ids ``(h, w)`` uint8 of one.
ScoresOf = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
ClassesOf = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
#: Where some finished rows begin, and their class ids ``(h, W)`` uint8.
Rows = tuple[int, NDArray[np.uint8]]


class PixelReader(Protocol):
    """Anything whose pixels can be read part by part.

    Attributes:
        size_hw: ``(H, W)`` in pixels.
    """

    @property
    def size_hw(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        ...

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8] | None:
        """Return a part that lies within the image, ``(height, width, 3)`` uint8 RGB; ``None`` where nothing is known.

        Raises:
            InputError: the part cannot be read.
        """
        ...


class ArrayReader:
    """Reads from an image in memory."""

    def __init__(self, image_rgb: NDArray[np.uint8]) -> None:
        """Keep the image, ``(H, W, 3)`` uint8 RGB."""
        self._image = image_rgb

    @property
    def size_hw(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        height, width = self._image.shape[:2]
        return height, width

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return a part; see ``PixelReader.read``."""
        return self._image[top : top + height, left : left + width]


def read_window(reader: PixelReader, grid: Grid, band: int, column: int) -> NDArray[np.uint8] | None:
    """Read a window; what of it is beyond the image is reflected.

    Args:
        reader: of the image.
        grid: its windows.
        band: number of the window from the top.
        column: its number from the left.

    Returns:
        ``(h, w, 3)`` uint8 RGB of the window's size; ``None`` where nothing of it is known.
    """
    rows, columns = _reflected(grid.rows, band), _reflected(grid.columns, column)
    top, left = int(rows.min()), int(columns.min())
    part = reader.read(top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left)
    return None if part is None else np.ascontiguousarray(part[rows - top][:, columns - left])


def blended_rows(
    reader: PixelReader, grid: Grid, scores_of: ScoresOf, num_classes: int, *, first_band: int = 0
) -> Iterator[Rows]:
    """Add the scores of all windows by their weights, and take the best class.

    Args:
        reader: of the image.
        grid: its windows.
        scores_of: gives the scores of a window.
        num_classes: the number of channels C.
        first_band: number of the first band of windows whose rows are wanted; those before that reach into its rows
            are computed again.

    Yields:
        For each band the rows that are finished with it, in order.
    """
    rows, columns = grid.rows, grid.columns
    above = np.zeros((rows.overlap, columns.extent, num_classes), np.float32)
    reaching = -(-rows.overlap // rows.step)
    for band in range(max(0, first_band - reaching), rows.count):
        height = rows.final(band)
        classes = np.empty((height, columns.extent), np.uint8)
        down = rows.weights(band)
        beside = np.zeros((rows.window, columns.overlap, num_classes), np.float32)
        for column in range(columns.count):
            window = read_window(reader, grid, band, column)
            scores = np.zeros((rows.window, columns.window, num_classes), np.float32)
            if window is not None:
                np.multiply(scores_of(window), np.outer(down, columns.weights(column))[..., None], out=scores)
            scores[:, : columns.overlap] += beside
            width, left = columns.final(column), columns.start(column)
            finished, beside = scores[:, :width], scores[:, width:]
            finished[: rows.overlap] += above[:, left : left + width]
            if height < rows.window:
                above[:, left : left + width] = finished[height:]
            classes[:, left : left + width] = finished[:height].argmax(axis=-1)
        if band >= first_band:
            yield _within(grid, rows.start(band), classes)


def cropped_rows(reader: PixelReader, grid: Grid, classes_of: ClassesOf, *, first_band: int = 0) -> Iterator[Rows]:
    """Take each pixel's class from the window whose edges are farthest from it.

    Args:
        reader: of the image.
        grid: its windows.
        classes_of: gives the class ids of a window.
        first_band: number of the first band of windows whose rows are wanted.

    Yields:
        For each band its rows, in order.
    """
    for band in range(first_band, grid.rows.count):
        top, bottom = grid.rows.cut(band)
        classes = np.zeros((bottom - top, grid.columns.extent), np.uint8)
        for column in range(grid.columns.count):
            window = read_window(reader, grid, band, column)
            if window is not None:
                left, right = grid.columns.cut(column)
                y, x = grid.rows.start(band), grid.columns.start(column)
                classes[:, left:right] = classes_of(window)[top - y : bottom - y, left - x : right - x]
        yield _within(grid, top, classes)


def _within(grid: Grid, top: int, classes: NDArray[np.uint8]) -> Rows:
    return top, classes[: grid.rows.length - top, : grid.columns.length]


def _reflected(axis: Axis, index: int) -> NDArray[np.intp]:
    """Return which pixels of an image a window takes: beyond the end it goes back, without the last pixel twice."""
    places = np.arange(axis.start(index), axis.start(index) + axis.window)
    period = max(1, 2 * (axis.length - 1))
    places %= period
    return np.minimum(places, period - places) if axis.length > 1 else np.zeros_like(places)
