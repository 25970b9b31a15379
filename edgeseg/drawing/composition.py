"""Put a subject with soft edges before another background: blend, blur what is around it, and wrap light about it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: By how much the subject takes on the background at most, and how far in: the deviation of a blur over the height.
_WRAP, _WRAP_WIDTH = 0.3, 1 / 120

#: Blurred and measured at this part of the size, where it costs a 64th.
_SMALL = 8


class Composition:
    """Blends frame after frame with a layer, with buffers that are reused."""

    def __init__(self) -> None:
        self._shares = np.empty((0, 0, 3), np.uint8)

    def __call__(self, image: NDArray[np.uint8], layer: NDArray[np.uint8], weights: NDArray[np.uint8]) -> None:
        """Mix a layer into an image.

        Args:
            image: ``(h, w, 3)`` uint8; it is drawn into.
            layer: the same shape.
            weights: ``(h, w)`` uint8: of the image; 255 leaves a pixel as it is, 0 makes it the layer's.
        """
        if self._shares.shape != image.shape:
            self._shares = np.empty_like(image)
        shares = cv2.merge([weights] * 3, self._shares)
        cv2.multiply(image, shares, dst=image, scale=1 / 255)
        cv2.bitwise_not(shares, dst=shares)
        cv2.multiply(layer, shares, dst=shares, scale=1 / 255)
        cv2.add(image, shares, dst=image)


def light_wrap(weights: NDArray[np.uint8]) -> None:
    """Let the background shine about the edge of the subject: ``weights * (1 - 0.3 * (1 - blurred weights))``.

    A cut-out subject looks pasted where nothing of the new background's light is on it. At the edge the blurred weights
    are a half, and 15 % of the background is on the subject; a 30th of the height further in there is none.

    Args:
        weights: ``(h, w)`` uint8, see ``Composition``, of any size; they are changed.
    """
    height, width = weights.shape
    spread = cv2.GaussianBlur(_shrunk(weights), (0, 0), max(height * _WRAP_WIDTH / _SMALL, 0.5))
    kept = cv2.convertScaleAbs(spread, alpha=_WRAP, beta=255 * (1 - _WRAP))
    cv2.multiply(weights, cv2.resize(kept, (width, height)), dst=weights, scale=1 / 255)


def blur(image: NDArray[np.uint8], out: NDArray[np.uint8], weights: NDArray[np.uint8] | None = None) -> None:
    """Blur an image by about a 40th of its height.

    Args:
        image: ``(h, w, 3)`` uint8.
        out: the same shape; it is written to.
        weights: uint8 of any size: of the subject, whose colors do not go into the blur; else it would have a glow of
            them around it.
    """
    height, width = image.shape[:2]
    small = _shrunk(image)
    side = max(3, height // 160) | 1
    if weights is None:
        blurred = cv2.GaussianBlur(small, (side, side), 0)
    else:
        around = cv2.resize(weights, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        # At least a 256th: inside the subject, where nothing else is, its own colors are as good as any.
        shares = np.float32(256) - around
        sums = cv2.merge([*(cv2.multiply(color, shares, dtype=cv2.CV_32F) for color in cv2.split(small)), shares])
        *colors, total = cv2.split(cv2.GaussianBlur(sums, (side, side), 0))
        blurred = cv2.merge([cv2.divide(color, total, dtype=cv2.CV_8U) for color in colors])
    cv2.resize(blurred, (width, height), dst=out)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image at an eighth of its size, in two steps: OpenCV averages pairs of pixels several times as fast."""
    height, width = image.shape[:2]
    half = cv2.resize(image, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    size_wh = (max(1, width // _SMALL), max(1, height // _SMALL))
    return cv2.resize(half, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
