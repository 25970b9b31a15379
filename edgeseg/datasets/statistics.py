"""Measure the mean and the standard deviation of the images of a data set, for the normalization of a model."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.progress import Progress
from edgeseg.datasets.source import LabeledSplit
from edgeseg.errors import InputError
from edgeseg.imaging import read_image

Triple = tuple[float, float, float]

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
