"""Show the images that changed most: the float model's answer, the artifact's, and the pixels that flipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.drawing.painter import drawing_table, render
from edgeseg.imaging import read_image
from edgeseg.segmenter import Segmentation, Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.quantization.accuracy import Accuracy, Baseline

#: Images in the page are at most this wide and high, in pixels, so that the file stays at a few megabytes.
MAX_SIDE = 480

# More kinds of change than this say nothing about one image.
_NUM_FLIPS = 3


@dataclass(frozen=True)
class Flip:
    """Pixels that went from one class to another.

    Attributes:
        before: the class that the float model gives.
        after: the class that the artifact gives.
        share: of the image's pixels, in [0, 1].
    """

    before: str
    after: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """One image, and the change of its classes.

    Attributes:
        file: the image's file name.
        changed: share of pixels that changed their class, in [0, 1].
        flips: the most frequent changes, the first the largest.
        image: ``(h, w, 3)`` uint8 RGB, at most ``MAX_SIDE`` wide and high, like all of these.
        before: the float model's classes drawn over the image.
        after: the artifact's classes drawn over the image.
        flipped: ``(h, w, 4)`` uint8 RGBA; see ``flipped_map``.
    """

    file: str
    changed: float
    flips: tuple[Flip, ...]
    image: NDArray[np.uint8]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    flipped: NDArray[np.uint8]

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of the report, which has no images."""
        return {"file": self.file, "changed": self.changed, "flips": [vars(flip) for flip in self.flips]}


def most_changed(before: Baseline, segmenter: Segmenter, accuracy: Accuracy, count: int = 6) -> tuple[Change, ...]:
    """Run an artifact again on the images that changed most.

    Args:
        before: the float model's answers.
        segmenter: the artifact.
        accuracy: measured by ``accuracy.compare`` with these two.
        count: how many images at most; one that did not change is omitted.

    Returns:
        The images, the one that changed most first.
    """
    order = sorted(range(len(accuracy.changed)), key=lambda index: -accuracy.changed[index])
    return tuple(change(before, segmenter, index) for index in order[:count] if accuracy.changed[index] > 0)


def change(before: Baseline, segmenter: Segmenter, index: int) -> Change:
    """Run an artifact on one image of the baseline and draw the change."""
    path, spec = before.images.paths[index], segmenter.spec
    image, old = read_image(path), before.class_maps[index]
    new = segmenter(image).class_map
    return Change(
        file=path.name,
        changed=float(np.mean(old != new)),
        flips=_flips(old, new, spec),
        image=_bounded(image),
        before=_bounded(render(image, Segmentation(old, spec))),
        after=_bounded(render(image, Segmentation(new, spec))),
        flipped=_bounded(flipped_map(old, new, spec)),
    )


def flipped_map(before: NDArray[np.uint8], after: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.uint8]:
    """Draw the pixels that changed their class, in the color of the new one.

    Args:
        before: ``(h, w)`` uint8 class ids.
        after: ``(h, w)`` uint8 class ids.
        spec: gives the colors.

    Returns:
        ``(h, w, 4)`` uint8 RGBA; opaque where the classes differ, all zero elsewhere.
    """
    changed = before != after
    drawn = np.dstack([drawing_table(spec)[after], np.full(after.shape, 255, np.uint8)])
    return np.where(changed[..., None], drawn, 0).astype(np.uint8)


def _flips(before: NDArray[np.uint8], after: NDArray[np.uint8], spec: ModelSpec) -> tuple[Flip, ...]:
    changed = before != after
    pairs = before[changed].astype(np.int64) * spec.num_classes + after[changed]
    kinds, counts = np.unique(pairs, return_counts=True)
    most = sorted(zip(counts.tolist(), kinds.tolist(), strict=True), key=lambda item: (-item[0], item[1]))
    names = spec.class_names
    return tuple(
        Flip(names[kind // spec.num_classes], names[kind % spec.num_classes], count / before.size)
        for count, kind in most[:_NUM_FLIPS]
    )


def _bounded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image to ``MAX_SIDE`` by averaging; a lone opaque pixel of an RGBA image becomes a faint one."""
    height, width = image.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if image.shape[2] == 3:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
    # Transparent pixels are black and must not darken the colors beside them: average color times opacity.
    opacity = image[..., 3:].astype(np.float32) / 255
    averaged = cv2.resize(np.dstack([image[..., :3] * opacity, opacity]), size, interpolation=cv2.INTER_AREA)
    colors = averaged[..., :3] / np.maximum(averaged[..., 3:], 1e-6)
    return np.dstack([colors, averaged[..., 3:] * 255]).round().clip(0, 255).astype(np.uint8)
