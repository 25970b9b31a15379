"""Cut an image into windows of a model's own size that overlap, and say how much each window counts in each pixel.

A window begins where the strides of a model begin again, so that a pixel is computed in it as in the whole image, but
for what the pixels beyond the window's edge would have changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec

#: The largest total stride of a model that windows are aligned with.
_MAX_STRIDE = 64
#: What windows have in common where the receptive field is not known, or too large for a window to have it at both
#: sides: this share of a side.
DEFAULT_SHARE = 1 / 4
#: The default never exceeds it: at a half of each side, a pixel is computed four times.
_MAX_SHARE = 1 / 2


def stride_of(side: int) -> int:
    """Return the steps in which windows of a side begin, in pixels.

    A model whose total stride is a power of two takes sides that are multiples of it. So its stride divides the largest
    power of two by which the side can be divided; steps above 64 pixels, or a quarter of the side, would be coarse.
    """
    power = side & -side
    while power > min(_MAX_STRIDE, max(1, side // 4)):
        power //= 2
    return power


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The windows along one side of an image, in pixels.

    Attributes:
        length: of the image.
        window: side of a window.
        overlap: what two neighboring windows have in common.
        margin: how far from an edge between windows a window does not count, as its pixels depend on what is beyond;
            at most half of the overlap.
    """

    length: int
    window: int
    overlap: int
    margin: int

    @property
    def step(self) -> int:
        """From the start of a window to that of the next."""
        return self.window - self.overlap

    @property
    def count(self) -> int:
        """The number of windows."""
        return 1 + max(0, math.ceil((self.length - self.window) / self.step))

    @property
    def extent(self) -> int:
        """Where the last window ends, which may be beyond the image."""
        return (self.count - 1) * self.step + self.window

    def start(self, index: int) -> int:
        """Return where a window begins."""
        return index * self.step

    def final(self, index: int) -> int:
        """Return how many pixels of a window no later window adds to."""
        return self.window if index == self.count - 1 else self.step

    def cut(self, index: int) -> tuple[int, int]:
        """Return from where to where a window is the one whose edges are farthest; the end may be beyond the image."""
        half = self.overlap // 2
        first = self.start(index) + (half if index else 0)
        last = self.extent if index == self.count - 1 else self.start(index + 1) + half
        return first, last

    def weights(self, index: int) -> NDArray[np.float32]:
        """Return how much a window counts in each of its pixels, ``(window,)`` float32 in [0, 1].

        Over all windows that have a pixel the weights sum to 1.
        """
        first = self.start(index)
        return (self._raw(index) / self._total[first : first + self.window]).astype(np.float32)

    @cached_property
    def _total(self) -> NDArray[np.float64]:
        total = np.zeros(self.extent)
        for index in range(self.count):
            total[self.start(index) : self.start(index) + self.window] += self._raw(index)
        return total

    def _raw(self, index: int) -> NDArray[np.float64]:
        """Return 0 at edges between windows, 1 in the middle, and half a wave between; 1 at edges of the image."""
        ramp = self.overlap - 2 * self.margin
        distance = np.arange(self.window) + 0.5 - self.margin
        rising = np.clip(distance / ramp, 0, 1) if ramp else (distance > 0).astype(float)
        rising = np.sin(rising * np.pi / 2) ** 2
        weights = np.ones(self.window)
        if index:
            weights *= rising
        if index < self.count - 1:
            weights *= rising[::-1]
        return weights


@dataclass(frozen=True)
class Grid:
    """The windows of an image: every window of ``rows`` with every one of ``columns``."""

    rows: Axis
    columns: Axis

    @property
    def num_windows(self) -> int:
        """The number of windows."""
        return self.rows.count * self.columns.count

    @property
    def is_exact(self) -> bool:
        """Whether no pixel that counts depends on what is beyond its window, as far as was measured."""
        return all(axis.margin > 0 or axis.count == 1 for axis in (self.rows, self.columns))

    @classmethod
    def of(cls, size_hw: tuple[int, int], spec: ModelSpec, overlap: int | None = None) -> Grid:
        """Cut an image.

        Args:
            size_hw: ``(H, W)`` of the image, in pixels.
            spec: gives the size of a window, and the radius of the receptive field.
            overlap: in pixels, see ``overlaps``; more where as many windows are needed with more.

        Raises:
            InputError: see ``overlaps``.
        """
        axes = []
        for axis, common in enumerate(overlaps(spec, overlap)):
            radius = spec.receptive_radius[axis] if isinstance(spec.receptive_radius, tuple) else None
            # A window that has no room for the radius at both sides blends over all that it has in common.
            margin = radius if radius is not None and 2 * radius <= common else 0
            axes.append(_spread(size_hw[axis], spec.input_size[axis], common, margin))
        return cls(*axes)


def _spread(length: int, window: int, overlap: int, margin: int) -> Axis:
    """Return as many windows as an overlap needs, nearer to each other where the last would be beyond the image."""
    axis = Axis(length=length, window=window, overlap=overlap, margin=margin)
    if axis.count == 1:
        return axis
    stride = stride_of(window)
    step = math.ceil((length - window) / (axis.count - 1) / stride) * stride
    return Axis(length=length, window=window, overlap=window - step, margin=margin)


def overlaps(spec: ModelSpec, overlap: int | None = None) -> tuple[int, int]:
    """Return what neighboring windows of a model have in common, ``(rows, columns)`` in pixels.

    Args:
        spec: of the model.
        overlap: at least so many. When omitted, twice the radius of the receptive field, at most half of a side; a
            quarter of each side where the radius is larger, or was not measured. The next larger number is taken with
            which every window begins at a multiple of ``stride_of``.

    Raises:
        InputError: the overlap is negative or no whole number, or leaves no step between windows.
    """
    chosen: list[int] = []
    for axis, side in enumerate(spec.input_size):
        wanted = overlap
        if wanted is None:
            radius = spec.receptive_radius[axis] if isinstance(spec.receptive_radius, tuple) else side
            wanted = 2 * radius if 2 * radius <= side * _MAX_SHARE else int(side * DEFAULT_SHARE)
        stride = stride_of(side)
        if not isinstance(wanted, Integral) or not 0 <= wanted <= side - stride:
            most = min(side - stride_of(side) for side in spec.input_size)
            raise InputError(
                f"`overlap` must be 0 to {most} pixels for a model of {spec.input_size[0]},{spec.input_size[1]} (H,W), "
                f"in whole pixels, got {wanted}."
            )
        chosen.append(side - (side - wanted) // stride * stride)
    return chosen[0], chosen[1]
