"""Refine a coarse mask by the colors of its image: the guided filter, computed small and applied large.

Source: He, Sun and Tang 2013, "Guided Image Filtering", equations 19 to 21 for an image in color; He and Sun 2015,
"Fast Guided Filter", for the small size. In each window the mask is taken for a linear function of the colors,
``slopes . color + offset``, by least squares. These coefficients are smooth, so that they are computed from a small
image and enlarged, while the colors that they are multiplied with are the image's own: an edge is where the image has
it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Rows of the small image, as the models of persons have 144 to 256; and at most so many are the coefficients applied
#: to: in Full HD to every second, which takes a quarter of the time and is seen in single hairs alone.
_ROWS, _MOST_ROWS = 160, 720

#: Half a window's side in pixels of the small image, and the variance of a color, in squared gray levels, below which a
#: window is plain: noise of a webcam has 5 to 10 levels, that is 25 to 100.
_RADIUS, _PLAIN = 2, 100.0

#: The mask is 0 up to the first and 1 from the second, with a smooth step between: a window that is half a person's
#: gives the wall beside her a fifth, which would be a halo; and a wall in a fringe of hair is seen less than hair.
_FROM, _TO = 0.2, 0.9

#: The pairs of channels: each with itself, then each two. And the place in it of the pair of two channels.
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_PLACES = ((0, 3, 4), (3, 1, 5), (4, 5, 2))

#: The cofactors of a symmetric matrix with the entries of ``_PAIRS``: each is ``p * q - r * s``.
_COFACTORS = ((1, 2, 5, 5), (0, 2, 4, 4), (0, 1, 3, 3), (4, 5, 3, 2), (3, 5, 4, 1), (3, 4, 0, 5))


class GuidedFilter:
    """Refines mask after mask, each by the frame that it belongs to, with buffers that are reused."""

    def __init__(self) -> None:
        steps = np.clip((np.arange(256) / 255 - _FROM) / (_TO - _FROM), 0, 1)
        self._curve = np.round(255 * steps * steps * (3 - 2 * steps)).astype(np.uint8)
        self._prepared_for: tuple[int, ...] = ()

    def __call__(self, image: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Refine a mask.

        Args:
            image: ``(h, w, 3)`` uint8 in any order.
            mask: ``(H, W)`` float32 in [0, 1], of the same view at any size.

        Returns:
            uint8, the weight of each pixel, 255 where it is wholly the mask's: ``(h, w)``, or a whole part of it where
            the image has more than 720 rows; valid until the next call.
        """
        if self._prepared_for != image.shape:
            self._prepare(image.shape)
        guide = image
        if self._reduced.shape != image.shape:
            guide = cv2.resize(image, self._reduced.shape[1::-1], dst=self._reduced)  # type: ignore[assignment]
        self._measure(guide, mask)
        self._solve()
        *slopes, offset = self._coefficients
        size_wh = (guide.shape[1], guide.shape[0])
        cv2.resize(offset, size_wh, dst=self._total)
        for plane, slope in zip(cv2.split(guide, self._planes), slopes, strict=True):
            cv2.resize(slope, size_wh, dst=self._product)
            cv2.multiply(plane, self._product, dst=self._product, dtype=cv2.CV_32F)
            cv2.add(self._total, self._product, dst=self._total)
        cv2.addWeighted(self._total, 1, self._total, 0, 0, dst=self._weights, dtype=cv2.CV_8U)  # cut off at 0 and 255
        return cv2.LUT(self._weights, self._curve, dst=self._weights)  # type: ignore[return-value]

    def _measure(self, guide: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
        """Write the means of the colors and the mask, their covariances and those of the colors into ``_means``."""
        values, means, products = self._values, self._means, self._products
        colors, target = values[:3], values[3]
        small = cv2.resize(guide, target.shape[::-1], dst=self._small)
        for channel, color in zip(cv2.split(small), colors, strict=True):
            np.copyto(color, channel)
        np.multiply(cv2.resize(mask, target.shape[::-1]), 255, out=target)
        np.multiply(colors, target, out=values[4:7])
        for value, (i, j) in zip(values[7:], _PAIRS, strict=True):
            np.multiply(colors[i], colors[j], out=value)
        for value, mean in zip(values, means, strict=True):
            _average(value, mean)
        # The mean of a product less the product of the means is the covariance.
        np.subtract(means[4:7], np.multiply(means[:3], means[3], out=products[:3]), out=means[4:7])
        for product, (i, j) in zip(products, _PAIRS, strict=True):
            np.multiply(means[i], means[j], out=product)
        np.subtract(means[7:], products, out=means[7:])
        np.add(means[7:10], _PLAIN, out=means[7:10])

    def _solve(self) -> None:
        """Write the averages of the slopes and the offset of each window that a pixel is in into ``_coefficients``.

        The slopes are the inverse of the colors' covariances times those with the mask.
        """
        values, means, cofactors = self._values, self._means, self._products
        with_mask, matrix = means[4:7], means[7:]
        part, determinant, slopes, offset = values[0], values[1], values[4:7], values[7]
        for cofactor, (p, q, r, s) in zip(cofactors, _COFACTORS, strict=True):
            np.multiply(matrix[p], matrix[q], out=cofactor)
            np.subtract(cofactor, np.multiply(matrix[r], matrix[s], out=part), out=cofactor)
        determinant.fill(0)
        for place in _PLACES[0]:
            np.add(determinant, np.multiply(matrix[place], cofactors[place], out=part), out=determinant)
        np.divide(with_mask, determinant, out=with_mask)
        np.copyto(offset, means[3])
        for slope, mean, places in zip(slopes, means, _PLACES, strict=False):
            slope.fill(0)
            for place, covariance in zip(places, with_mask, strict=True):
                np.add(slope, np.multiply(cofactors[place], covariance, out=part), out=slope)
            np.subtract(offset, np.multiply(slope, mean, out=part), out=offset)
        for value, average in zip(values[4:8], self._coefficients, strict=True):
            _average(value, average)

    def _prepare(self, shape: tuple[int, ...]) -> None:
        height, width = shape[:2]
        share = -(-height // _MOST_ROWS)
        rows, columns = max(1, height // share), max(1, width // share)
        self._reduced = np.empty((rows, columns, 3), np.uint8)
        self._planes = [np.empty((rows, columns), np.uint8) for _ in range(3)]
        self._total, self._product = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.float32)
        self._weights = np.empty((rows, columns), np.uint8)
        step = max(1.0, rows / _ROWS)
        small = max(1, round(rows / step)), max(1, round(columns / step))
        self._small = np.empty((*small, 3), np.uint8)
        #: The colors, the mask, the colors times the mask, the products of ``_PAIRS``; and the averages of them.
        self._values, self._means = np.empty((13, *small), np.float32), np.empty((13, *small), np.float32)
        self._products, self._coefficients = np.empty((6, *small), np.float32), np.empty((4, *small), np.float32)
        self._prepared_for = shape


def _average(values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the mean over each pixel's window."""
    side = 2 * _RADIUS + 1
    cv2.boxFilter(values, -1, (side, side), dst=out, borderType=cv2.BORDER_REFLECT)
