"""Measure the images of a data set: their sizes, for a model's input, and mean and deviation, for its normalization."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.progress import Progress
from edgeseg.datasets.source import LabeledSplit
from edgeseg.errors import InputError
from edgeseg.imaging import read_image

Triple = tuple[float, float, float]
Size = tuple[int, int]

#: A model's input shows images at less than their size by more than this where small objects vanish: what is three
#: pixels wide in an image has less than two in the input.
SHRINKS = 1.5

# Sizes that every model of the zoo takes are its multiples.
_STRIDE = 32
# The encoders see a 32nd of each side: two pixels are the least that convolutions find a neighbor in.
_SMALLEST = 64

# Of 255 gray levels, and what is printed is what is used.
_DECIMALS = 2


@dataclass(frozen=True)
class ChannelStatistics:
    """The mean and the standard deviation of the red, green and blue of some images, in gray levels from 0 to 255.

    Attributes:
        mean: of each channel, rounded to hundredths.
        std: of each channel, likewise.
    """

    mean: Triple
    std: Triple

    def as_settings(self) -> str:
        """Return them as the settings of a training, for a message: ```mean=(R, G, B), std=(R, G, B)```."""
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"`mean=({mean}), std=({std})`"


def channel_statistics(
    data: LabeledSplit, *, num_threads: int | None = None, progress: Progress | None = None
) -> ChannelStatistics:
    """Measure the images of a split, ignored pixels too; each image counts alike, as it fills the model's input.

    Keras' ``ImageDataGenerator`` with ``featurewise_center`` and ``featurewise_std_normalization`` has the same numbers
    of images of one size.

    Args:
        data: the split; its images are read once.
        num_threads: threads that read; one per core when ``None``.
        progress: called with (images done, images in all).

    Raises:
        InputError: an image cannot be read, or all pixels of a channel are equal.
    """

    def moments(index: int) -> NDArray[np.float64]:
        pixels = read_image(data.pairs[index][0]).reshape(-1, 3)
        counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T], axis=-1)
        return np.stack([levels, levels**2]) @ counts / len(pixels)

    levels = np.arange(256.0)
    total = np.zeros((2, 3))
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        for done, each in enumerate(pool.map(moments, range(len(data))), 1):
            total += each
            if progress:
                progress(done, len(data))
    mean, of_squares = total / len(data)
    std = np.sqrt(np.maximum(of_squares - mean**2, 0)).round(_DECIMALS)
    if not std.all():
        raise InputError(
            "all pixels of a channel are equal in all images: there is no standard deviation to divide by."
        )
    return ChannelStatistics(_triple(mean.round(_DECIMALS)), _triple(std))


def _triple(values: NDArray[np.float64]) -> Triple:
    red, green, blue = values.tolist()
    return red, green, blue


@dataclass(frozen=True)
class ImageSizes:
    """How many images have which size.

    Attributes:
        counts: number of images of each size ``(H, W)``, in pixels.
    """

    counts: Mapping[Size, int]

    @classmethod
    def of(cls, sizes: Iterable[Size]) -> ImageSizes:
        """Count sizes ``(H, W)``."""
        return cls(dict(Counter(sizes)))

    @property
    def smallest(self) -> Size:
        """The size with the fewest pixels."""
        return self._by_area()[0]

    @property
    def median(self) -> Size:
        """The size of the image in the middle, by pixels: half of the images have no more than it."""
        sizes = self._by_area()
        return sizes[(len(sizes) - 1) // 2]

    @property
    def largest(self) -> Size:
        """The size with the most pixels."""
        return self._by_area()[-1]

    @property
    def aspect(self) -> tuple[float, float]:
        """The least and the greatest ratio of width to height."""
        ratios = [width / height for height, width in self.counts]
        return min(ratios), max(ratios)

    def line(self) -> str:
        """Return one line for people: how many sizes, the smallest, the median and the largest, and the aspect."""
        if not self.counts:
            return "image sizes (HxW): none"
        low, high = (f"{ratio:.2f}" for ratio in self.aspect)
        aspect = f"width to height {low}" + (f" to {high}" if high != low else "")
        if len(self.counts) == 1:
            return f"image sizes (HxW): all {as_text(self.median)}; {aspect}"
        of_three = ((name, as_text(getattr(self, name))) for name in ("smallest", "median", "largest"))
        return f"image sizes (HxW): {len(self.counts)}; {', '.join(map(' '.join, of_three))}; {aspect}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object: sizes as ``[H, W]`` in pixels, null where there is no image."""
        known = bool(self.counts)
        return {
            "num_sizes": len(self.counts),
            **{name: list(getattr(self, name)) if known else None for name in ("smallest", "median", "largest")},
            "aspect": list(self.aspect) if known else None,
        }

    def _by_area(self) -> list[Size]:
        """Return the size of each image, by pixels."""
        ordered = sorted(self.counts, key=lambda size: (size[0] * size[1], size))
        return [size for size in ordered for _ in range(self.counts[size])]


def input_size_near(size: Size, scale: float = 1.0) -> Size:
    """Return the size ``(H, W)`` that every model of the zoo takes and that is nearest to a scaled one."""
    height, width = (max(_SMALLEST, int(side * scale / _STRIDE + 0.5) * _STRIDE) for side in size)
    return height, width


def as_text(size: Size) -> str:
    """Return a size ``(H, W)`` as people read it: ``480x640``."""
    return f"{size[0]}x{size[1]}"


def as_option(size: Size) -> str:
    """Return a size ``(H, W)`` as ``--imgsz`` takes it: ``480,640``, or ``512`` for a square."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]},{size[1]}"
