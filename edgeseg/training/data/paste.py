"""Paste the objects of one training image onto another: new backgrounds, and groups where a data set has one object.

Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", for class maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.errors import InputError
from edgeseg.training.data.augment import IGNORED, Augmentation
from edgeseg.training.data.cache import Pairs

# Of the blur of a mask, in pixels: a camera's edge is not one pixel wide.
_EDGE_SIGMA = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Paste:
    """Augments an image and, as often as is asked, pastes the classes of another one onto it.

    Both go through the same augmentation, each with draws of its own. A pixel of the other image is pasted where it has
    a class that is neither the background nor ignored.

    Attributes:
        augmentation: for both images.
        others: the images that are pasted, with the ids of the pipeline: 255 where there is no class.
        chance: probability of a paste.
        background: id of the class that is not pasted.
        weights: how often each of the others is drawn, summing to 1; all alike when ``None``.
    """

    __repr__ = short_repr

    augmentation: Augmentation
    others: Pairs
    chance: float
    background: int = 0
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.chance <= 1:
            raise InputError(f"Paste.chance must be 0 to 1, got {self.chance}.")

    def __call__(
        self, image_rgb: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment one pair, and paste another one onto it.

        Args:
            image_rgb: ``(h, w, 3)`` uint8 RGB; not changed.
            label: ``(h, w)`` uint8 class ids, ``IGNORED`` where there is no class; not changed.
            rng: the only source of randomness.

        Returns:
            ``(H, W, 3)`` uint8 RGB and ``(H, W)`` uint8, at the augmentation's size.
        """
        image, ids = self.augmentation(image_rgb, label, rng)
        if rng.random() >= self.chance:
            return image, ids
        above, above_ids = self.augmentation(*self.others[int(rng.choice(len(self.others), p=self.weights))], rng)
        return pasted(image, ids, above, above_ids, self.background)


def pasted(
    image: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    above: NDArray[np.uint8],
    above_ids: NDArray[np.uint8],
    background: int = 0,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paste the classes of one image onto another of its size; the edge is blended over about two pixels.

    Args:
        image: ``(H, W, 3)`` uint8.
        ids: ``(H, W)`` uint8 class ids, ``IGNORED`` where there is no class.
        above: ``(H, W, 3)`` uint8, pasted where it has a class other than the background.
        above_ids: its ids.
        background: id of the class that is not pasted.
    """
    shown = (above_ids != background) & (above_ids != IGNORED)
    share = cv2.GaussianBlur(shown.astype(np.float32), (0, 0), _EDGE_SIGMA)[..., None]
    blended = image * (1 - share) + above * share
    return blended.round().astype(np.uint8), cast("NDArray[np.uint8]", np.where(shown, above_ids, ids))
