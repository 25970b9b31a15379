"""Choose the images that calibrate a model, and tell whether the ranges measured on them are enough.

Static integer precisions need the range of every activation. It is measured on the user's own images, fed exactly as
the model is fed on the device. The range of each image is kept, not only the range over all: there were enough images
if half of them give the same ranges as the other half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.progress import Progress
from edgeseg._internal.spread import spread
from edgeseg._internal.text import counted
from edgeseg.datasets import Data
from edgeseg.errors import InputError
from edgeseg.imaging import preprocess, read_image
from edgeseg.spec import ModelSpec
from edgeseg_converters.images import find

#: Fewer images than this are refused: a range from one or two images is chance.
MIN_IMAGES = 8

#: The range over half of the images may be this much narrower than the range over all of them. On CamVid nine of ten
#: tensors differ by less than that with 50 images and by more with 8.
MAX_DISAGREEMENT = 0.2


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Hold the images, and how they were chosen, so that the choice can be made again.

    Attributes:
        paths: of the images, in the order of use.
        source: the folder's name, with the split of a labeled data set.
        available: how many images there were to choose from.
        seed: of the choice.
        progress: called with (images done, images in all) as the images are used.
    """

    paths: tuple[Path, ...]
    source: str
    available: int
    seed: int
    progress: Progress | None = field(default=None, compare=False, repr=False)

    def tensors(self, spec: ModelSpec) -> Iterator[NDArray[np.float32]]:
        """Yield each image as the network in the artifact gets it: ``(1, H, W, 3)`` float32, values 0 to 255.

        Raises:
            InputError: an image does not decode; the text names the file.
        """
        for done, path in enumerate(self.paths, 1):
            yield preprocess(read_image(path), spec.replace(dtype="uint8", layout="nhwc"))[0].astype(np.float32)
            if self.progress:
                self.progress(done, len(self.paths))

    def first(self, count: int) -> CalibrationSet:
        """Return some of the images, evenly spread."""
        return dataclasses.replace(self, paths=tuple(spread(self.paths, count)))

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the reports."""
        names = [str(Path(path.parent.name) / path.name) for path in self.paths]
        return {"source": self.source, "num_images": len(names), "seed": self.seed, "files": names}


def choose(data: Data, *, count: int = 100, seed: int = 0, split: str = "train") -> CalibrationSet:
    """Choose images to calibrate with.

    Args:
        data: a labeled data set, of which ``split`` is used, or a folder of images.
        count: how many at most.
        seed: of the random choice.
        split: of a labeled data set; it should not be the split that the accuracy is measured on.

    Raises:
        InputError: there are fewer than ``MIN_IMAGES``.
    """
    paths, _, source = find(data, split)
    if len(paths) < MIN_IMAGES:
        raise InputError(
            f"'{source}' has {counted(len(paths), 'image')}; calibration needs at least {MIN_IMAGES}, 100 are usual. "
            "Give `data` a folder with images as the model will see them."
        )
    order = np.random.default_rng(seed).permutation(len(paths))[:count]
    return CalibrationSet(
        paths=tuple(paths[index] for index in sorted(order)), source=source, available=len(paths), seed=seed
    )


@dataclass(frozen=True)
class Stability:
    """Tell whether the images were enough.

    Attributes:
        disagreement: how much narrower the range over half of the images is than the range over all, in [0, 1]; nine
            of ten tensors differ less. (After a ReLU6 even one image often has the whole range.)
        worst: the tensor where the halves differ most, and by how much.
        stable: whether ``disagreement`` is at most ``MAX_DISAGREEMENT``.
    """

    disagreement: float
    worst: tuple[str, float]
    stable: bool


@dataclass(frozen=True)
class Ranges:
    """Hold the ranges of a model's tensors, image by image.

    Attributes:
        low: tensor name to the smallest value in each image, ``(N,)`` float32.
        high: tensor name to the largest value in each image, ``(N,)`` float32.
    """

    low: Mapping[str, NDArray[np.float32]]
    high: Mapping[str, NDArray[np.float32]]

    def limits(self, name: str) -> tuple[float, float]:
        """Return the range of a tensor over all images.

        A mean over the images would cut off values of single images, such as the sun in the sky.
        """
        return float(self.low[name].min()), float(self.high[name].max())

    def stability(self) -> Stability:
        """Compare the range over each half of the images (every other one) with the range over all."""
        disagreements: dict[str, float] = {}
        for name in self.low:
            low, high = self.limits(name)
            if high > low and len(self.low[name]) > 1:
                halves = [(self.low[name][k::2].min(), self.high[name][k::2].max()) for k in (0, 1)]
                disagreements[name] = max(1 - float(top - bottom) / (high - low) for bottom, top in halves)
        if not disagreements:
            return Stability(1.0, ("", 1.0), False)
        typical = float(np.quantile(list(disagreements.values()), 0.9))
        worst, most = max(disagreements.items(), key=lambda item: item[1])
        return Stability(typical, (worst, most), typical <= MAX_DISAGREEMENT)
