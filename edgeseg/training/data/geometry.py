"""Cut the window that a training image shows out of the scaled image; rotate, zoom, shift and bend what it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.resampling import Side, antialiased, is_antialiased, nearest, resized
from edgeseg.choices import Border, Resize

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The pixels of an image that the result shows.

    A pixel of the result comes from: its place from the middle, times ``zoom``, plus ``shift``, rotated, plus its
    displacement.

    Attributes:
        scaled: ``(H, W)`` of the whole image after scaling.
        start: row and column of the scaled image at the top left of the result; below 0 where that is beside it.
        degrees: rotation about the middle of the result.
        zoom: factors of rows and columns; above 1 the result shows more, each thing smaller.
        shift: rows and columns, in pixels of the result.
        displacements: ``(H, W, 2)`` pixels in x and y; none when ``None``.
    """

    scaled: Size
    start: tuple[int, int]
    degrees: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    displacements: NDArray[np.float32] | None = None

    @property
    def is_upright(self) -> bool:
        """Whether the result is the window itself."""
        bent = self.displacements is not None
        return not (self.degrees or bent or any(self.shift)) and self.zoom == (1.0, 1.0)


class Window:
    """The part of an image that a placement needs, as it is cut out of an image and its label.

    Args:
        placement: what the result shows.
        size: ``(H, W)`` of the result.
        pixels: ``(h, w)`` of the image as it is given.
        border: what is beside the image.
        resize: how the image is scaled; ``None`` for ``area`` where it shrinks and ``bilinear`` where it grows.
    """

    def __init__(
        self, placement: Placement, size: Size, pixels: tuple[int, ...], border: Border, resize: Resize | None = None
    ) -> None:
        self._placement, self._size, self._border, self._resize = placement, size, border, resize
        # The result is a window in the scaled image; one that is not upright needs a larger one around it.
        around = size if placement.is_upright else _around(size, placement)
        spans = zip(size, around, placement.start, placement.scaled, pixels, strict=True)
        self._rows, self._columns = (
            _Span(start - (turned - side) // 2, turned, whole, given) for side, turned, start, whole, given in spans
        )
        self._sources = None if placement.is_upright else _sources(size, around, placement)

    def image(self, image: NDArray[np.uint8], pad_value: tuple[int, int, int]) -> NDArray[np.uint8]:
        """Return the result's image, a new array; it has ``pad_value`` beside the given one, unless borders repeat."""
        return self._sampled(self._cut(image, pad_value), pad_value)

    def label(self, label: NDArray[np.uint8], ignored: int) -> NDArray[np.uint8]:
        """Return the result's label, by the nearest neighbor, a new array; it has ``ignored`` beside the given one."""
        return self._sampled(self._cut(label, (ignored,)), (ignored,))

    def _cut(self, array: NDArray[np.uint8], pad_value: tuple[int, ...]) -> NDArray[np.uint8]:
        part = self._scaled(array)
        beside = (self._rows.before, self._rows.after, self._columns.before, self._columns.after)
        if not any(beside):
            return part.copy() if np.may_share_memory(part, array) else part
        return cv2.copyMakeBorder(part, *beside, _MODES[self._border], value=pad_value)  # type: ignore[return-value]

    def _scaled(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale only what is shown; a label, which has no channels, by the nearest neighbor."""
        rows, columns, resize = self._rows, self._columns, self._resize
        is_label = array.ndim == 2
        if resize is not None and is_antialiased(resize):
            if is_label:
                return nearest(array, rows.side, columns.side)
            return antialiased(array, rows.side, columns.side, resize)
        part = array[rows.source, columns.source]
        if is_label:
            resize = "nearest"
        elif resize is None:
            # Area interpolation when shrinking: linear skips pixels and turns thin poles into dots.
            shrinks = rows.size * columns.size < part.shape[0] * part.shape[1]
            resize = "area" if shrinks else "bilinear"
        return resized(part, (rows.size, columns.size), resize)

    def _sampled(self, part: NDArray[np.uint8], pad_value: tuple[int, ...]) -> NDArray[np.uint8]:
        if self._sources is None:
            return part
        interpolation = cv2.INTER_NEAREST if part.ndim == 2 else cv2.INTER_LINEAR
        return cv2.remap(  # type: ignore[call-overload,no-any-return]  # its stub has no None
            part, self._sources, None, interpolation, borderMode=_MODES[self._border], borderValue=pad_value
        )


_MODES: dict[Border, int] = {"pad": cv2.BORDER_CONSTANT, "repeat": cv2.BORDER_REPLICATE}


class _Span:
    """A window along one axis: which pixels of the image it shows, at which size, and what is beside them."""

    def __init__(self, start: int, length: int, scaled: int, pixels: int) -> None:
        """Show ``length`` pixels from ``start`` of a side of ``pixels`` that was scaled to ``scaled``."""
        end = start + length
        visible = max(start, 0), min(end, scaled)
        first, last = (round(position * pixels / scaled) for position in visible)
        first = min(first, pixels - 1)
        self.source = slice(first, max(last, first + 1))
        self.side = Side(pixels, scaled, *visible)
        self.size = visible[1] - visible[0]
        self.before, self.after = visible[0] - start, end - visible[1]


def displacements(size: Size, deviation: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw ``(H, W, 2)`` pixels in x and y: normal at the points of a 3x3 grid, cubic between them."""
    grid = rng.normal(0.0, deviation, (3, 3, 2)).astype(np.float32)
    return cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def _around(size: Size, placement: Placement) -> Size:
    """Return an upright box of the same middle around all that is shown: an even number of pixels more."""
    cos, sin = abs(math.cos(math.radians(placement.degrees))), abs(math.sin(math.radians(placement.degrees)))
    sides = zip(size, placement.zoom, placement.shift, strict=True)
    height, width = (side * factor + 2 * abs(moved) for side, factor, moved in sides)
    margin = 0.0 if placement.displacements is None else float(np.abs(placement.displacements).max())
    turned = height * cos + width * sin, width * cos + height * sin
    by_half = [max(0, math.ceil((around - side) / 2 + margin)) for around, side in zip(turned, size, strict=True)]
    return size[0] + 2 * by_half[0], size[1] + 2 * by_half[1]


def _sources(size: Size, window: Size, placement: Placement) -> NDArray[np.float32]:
    """Return where in the window each pixel of the result comes from, ``(H, W, 2)``, x and y."""
    factors = zip(size, placement.zoom, placement.shift, strict=True)
    rows, columns = (_from_middle(side) * np.float32(zoom) + np.float32(moved) for side, zoom, moved in factors)
    radians = math.radians(placement.degrees)
    cos, sin = np.float32(math.cos(radians)), np.float32(math.sin(radians))
    middle = (window[1] - 1) / 2, (window[0] - 1) / 2
    x = cos * columns - sin * rows[:, None] + np.float32(middle[0])
    y = sin * columns + cos * rows[:, None] + np.float32(middle[1])
    sources: NDArray[np.float32] = np.stack([x, y], axis=-1)
    return sources if placement.displacements is None else sources + placement.displacements


def _from_middle(side: int) -> NDArray[Any]:
    return np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
