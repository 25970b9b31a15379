"""Random flip, scale, crop and colour; picture and label always get the same geometry."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Label id that no loss and no metric counts, whatever the data set's own ignored id is.
IGNORED = 255


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training picture, each draw from the given generator.

    Attributes:
        crop_size: ``(H, W)`` of what comes out, in pixels.
        scale: smallest and largest factor of the picture's size, drawn log-uniformly.
        flip: probability of a left-right flip.
        hsv: largest relative change of hue, saturation and value.
        pad_value: RGB colour where the scaled picture is smaller than the crop; the label is ``IGNORED`` there.
    """

    crop_size: tuple[int, int]
    scale: tuple[float, float] = (0.6, 1.6)
    flip: float = 0.5
    hsv: tuple[float, float, float] = (0.02, 0.4, 0.3)
    pad_value: tuple[int, int, int] = (128, 128, 128)

    def __call__(
        self, image_rgb: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment one pair.

        Args:
            image_rgb: ``(h, w, 3)`` uint8 RGB.
            label: ``(h, w)`` uint8 class ids, ``IGNORED`` where there is no class.
            rng: the only source of randomness.

        Returns:
            ``(H, W, 3)`` uint8 RGB and ``(H, W)`` uint8, at ``crop_size``.
        """
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        height, width = (max(1, round(side * factor)) for side in label.shape)
        # Area interpolation when shrinking: linear skips pixels and turns thin poles into dots.
        shrink_or_grow = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image_rgb, (width, height), interpolation=shrink_or_grow)
        ids = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        crop_h, crop_w = self.crop_size
        top = int(rng.integers(0, max(0, height - crop_h) + 1))
        left = int(rng.integers(0, max(0, width - crop_w) + 1))
        image, ids = (x[top : top + crop_h, left : left + crop_w] for x in (image, ids))
        bottom, right = crop_h - ids.shape[0], crop_w - ids.shape[1]
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=self.pad_value)
            ids = cv2.copyMakeBorder(ids, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(IGNORED,))
        if rng.random() < self.flip:
            image, ids = image[:, ::-1], ids[:, ::-1]
        return self._colour(np.ascontiguousarray(image), rng), np.ascontiguousarray(ids)

    def _colour(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        hue, saturation, value = 1 + rng.uniform(-1, 1, 3) * self.hsv
        levels = np.arange(256, dtype=np.float64)
        table = np.stack(
            [
                (levels + 180 * (hue - 1)) % 180,  # OpenCV's 8-bit hue is 0..179
                np.clip(levels * saturation, 0, 255),
                np.clip(levels * value, 0, 255),
            ],
            axis=-1,
        ).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table[None])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[return-value]
