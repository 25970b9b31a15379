"""Scale images as a ModelSpec says: by OpenCV, or antialiased to the pixel values of Pillow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Resize

_OPENCV: Mapping[Resize, int] = MappingProxyType(
    {
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        # The pixel at the same place, as in Pillow and Keras; INTER_NEAREST takes one up to half a step beside it.
        "nearest": cv2.INTER_NEAREST_EXACT,
    }
)


class Side(NamedTuple):
    """One side of an image that is scaled, and the part of the scaled one that is wanted, all in pixels."""

    pixels: int
    scaled: int
    start: int
    stop: int


def resized(image: NDArray[np.uint8], size_hw: tuple[int, int], resize: Resize) -> NDArray[np.uint8]:
    """Scale an image.

    Args:
        image: ``(h, w)`` or ``(h, w, 3)`` uint8.
        size_hw: ``(H, W)`` in pixels.
        resize: how.

    Returns:
        ``(H, W)`` or ``(H, W, 3)`` uint8; the image itself where it has that size.
    """
    if image.shape[:2] == size_hw:
        return image
    if is_antialiased(resize):
        rows, columns = (Side(own, side, 0, side) for own, side in zip(image.shape, size_hw, strict=False))
        return antialiased(image, rows, columns, resize)
    return cv2.resize(image, size_hw[::-1], interpolation=_OPENCV[resize])  # type: ignore[return-value]


def is_antialiased(resize: Resize) -> bool:
    """Return whether ``antialiased`` takes it."""
    return resize in _KERNELS


def antialiased(image: NDArray[np.uint8], rows: Side, columns: Side, resize: Resize) -> NDArray[np.uint8]:
    """Return a part of a scaled image as Pillow has it: columns first, then rows, each to whole gray levels.

    Source: ``src/libImaging/Resample.c`` of Pillow 12. Its sums are of integers, these of float32, so that a
    value halfway between two gray levels may become the other one. Pillow 13 begins with the rows of an image that is
    about twice as high as wide, or shrinks more in height than in width (pull request 9549).

    Args:
        image: ``(h, w)`` or ``(h, w, 3)`` uint8.
        rows: the part of the scaled rows; ``pixels`` is ``h``.
        columns: the part of the scaled columns; ``pixels`` is ``w``.
        resize: ``bilinear-antialias`` or ``bicubic-antialias``.

    Returns:
        uint8, as many rows and columns as were asked for; a view of the image where nothing is scaled.
    """
    needed = _sources(rows, resize)
    image = image[needed, _sources(columns, resize)]
    if columns.pixels != columns.scaled:
        image = _scaled_columns(image, columns, resize)
    return image if rows.pixels == rows.scaled else _scaled_rows(image, rows, resize)


def nearest(array: NDArray[np.uint8], rows: Side, columns: Side) -> NDArray[np.uint8]:
    """Return a part of a scaled map by the nearest neighbor, which lies where ``antialiased`` has that of its image."""
    part: NDArray[np.uint8] = array[np.ix_(_nearest(rows), _nearest(columns))]
    return part


def _nearest(side: Side) -> NDArray[Any]:
    numbers = np.arange(side.pixels, dtype=np.float32)[None]
    scaled: NDArray[Any] = cv2.resize(numbers, (side.scaled, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0].astype(int)
    return scaled[side.start : side.stop]


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.maximum(1 - np.abs(distance), 0)
    return weights


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' kernel with a = -0.5."""
    x = np.abs(distance)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


#: Each kernel, and its radius in pixels of the scaled image, or of the given one where that is enlarged.
_KERNELS: Mapping[Resize, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], int]] = MappingProxyType(
    {"bilinear-antialias": (_triangle, 1), "bicubic-antialias": (_cubic, 2)}
)

# Scaling is a product with a matrix that is zero but for a band along its diagonal. Some rows of it are multiplied at a
# time, with a piece of the image that stays in the cache and for which BLAS starts no threads (up to a ninth of the
# size): those would wait for the cores on which a camera's model runs.
_ROWS = 8
_PIECE = 288


class _Band(NamedTuple):
    """Some rows of the matrix: which ones, which pixels they read, and their weights, float32."""

    rows: slice
    sources: slice
    weights: NDArray[np.float32]


def _scaled_columns(image: NDArray[np.uint8], side: Side, resize: Resize) -> NDArray[np.uint8]:
    """Scale the columns; those of ``_sources`` are given."""
    scaled = np.empty((len(image), side.stop - side.start, *image.shape[2:]), np.uint8)
    height = _PIECE // 3
    for top in range(0, len(image), height):
        strip = cv2.transpose(image[top : top + height])
        scaled[top : top + height] = cv2.transpose(_scaled_rows(strip, side, resize))  # type: ignore[arg-type]
    return scaled


def _scaled_rows(image: NDArray[np.uint8], side: Side, resize: Resize) -> NDArray[np.uint8]:
    """Scale the rows; those of ``_sources`` are given."""
    bands = _bands(side, resize)
    values = image.reshape(len(image), -1)
    scaled = np.empty((side.stop - side.start, values.shape[1]), np.uint8)
    for left in range(0, values.shape[1], _PIECE):
        piece = values[:, left : left + _PIECE].astype(np.float32)
        sums = np.empty((len(scaled), piece.shape[1]), np.float32)
        for band in bands:
            np.matmul(band.weights, piece[band.sources], out=sums[band.rows])
        sums += 0.5
        scaled[:, left : left + _PIECE] = np.clip(sums, 0, 255, out=sums)  # cut off, so halves are rounded up
    return scaled.reshape(len(scaled), *image.shape[1:])


def _sources(side: Side, resize: Resize) -> slice:
    """Return the pixels that a part of a scaled side is made of."""
    if side.pixels == side.scaled:
        return slice(side.start, side.stop)
    first, last = _reach(side, resize)
    return slice(int(first[0]), int(last[-1]))


def _reach(side: Side, resize: Resize) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first pixel that each scaled one is made of, and the one after the last."""
    scale = side.pixels / side.scaled
    reach = _KERNELS[resize][1] * max(scale, 1)
    middles = _middles(side)
    first, last = (middles - reach + 0.5).astype(int), (middles + reach + 0.5).astype(int)
    return np.maximum(first, 0), np.minimum(last, side.pixels)


def _middles(side: Side) -> NDArray[np.float64]:
    numbers = np.arange(side.start, side.stop, dtype=np.float64)
    return (numbers + 0.5) * (side.pixels / side.scaled)


@lru_cache(maxsize=64)  # the frames of a camera have one size; the images of a training run a new one each
def _bands(side: Side, resize: Resize) -> tuple[_Band, ...]:
    kernel = _KERNELS[resize][0]
    first, last = (ends[:, None] for ends in _reach(side, resize))
    middles, widening = _middles(side)[:, None], max(side.pixels / side.scaled, 1)
    given, bands = int(first[0, 0]), []
    for start in range(0, len(first), _ROWS):
        rows = slice(start, min(start + _ROWS, len(first)))
        pixels = np.arange(first[rows.start, 0], last[rows.stop - 1, 0])
        is_read = (pixels >= first[rows]) & (pixels < last[rows])
        weights = np.where(is_read, kernel((pixels - middles[rows] + 0.5) / widening), 0)
        shares = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        bands.append(_Band(rows, slice(pixels[0] - given, pixels[-1] + 1 - given), shares))
    return tuple(bands)
