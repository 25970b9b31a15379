"""Make the pixels of chosen classes unrecognizable: blocks of one color in place of persons or number plates."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: Blocks across the thickest part of an area at most: a face, which is narrower than shoulders, gets two or three.
_BLOCKS = 4

#: The smallest block, and the height of the frame over the smallest block: far persons are small.
_SMALLEST, _SMALLEST_SHARE = 8, 40

#: Rows of the map in which areas are measured, and by what part of them an area grows on every side: a model's border
#: is a pixel or two inside a person's.
_ROWS, _GROWTH = 192, 1 / 48


class Anonymization:
    """Puts blocks of one color over chosen classes, in frame after frame.

    The blocks of a frame are all of one size, a power of two: ``_BLOCKS`` of them or fewer cover the thickest area.
    What the model does not see as one of these classes stays as it is.
    """

    def __init__(self, ids: NDArray[np.bool_]) -> None:
        """Set the classes; ``ids`` is ``(256,)`` bool."""
        self._table = np.where(ids, 255, 0).astype(np.uint8)

    def __call__(self, image: NDArray[np.uint8], class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Anonymize an image.

        Args:
            image: ``(h, w, 3)`` uint8 in any order; it is drawn into.
            class_map: uint8 class ids, ``(h, w)`` or smaller.

        Returns:
            ``image``.
        """
        mask = cv2.LUT(class_map, self._table)
        if not mask.any():
            return image
        height, width = image.shape[:2]
        rows = min(_ROWS, mask.shape[0])
        columns = max(1, round(rows * width / height))
        # Averaged, then any share of a pixel counts: a thin area does not vanish.
        seen = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA) > 0
        radius = max(1, round(rows * _GROWTH))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        area = cv2.dilate(seen.astype(np.uint8), disc)
        # A hole in a person is where the model is wrong, or between arm and body; it is filled.
        outlines, _ = cv2.findContours(area, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(area, outlines, -1, 1, cv2.FILLED)
        block = _block(area, height, width)
        cells = (-(-width // block), -(-height // block))
        blocks = cv2.resize(
            cv2.resize(image, cells, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_NEAREST
        )
        grown = cv2.resize(area, (width, height), interpolation=cv2.INTER_NEAREST)
        return cv2.copyTo(blocks, grown, dst=image)  # type: ignore[return-value]


def _block(area: NDArray[Any], height: int, width: int) -> int:
    """Return the side of a block in pixels of the frame, by the thickest part of an area."""
    # Twice the distance to the nearest pixel outside; where the frame cuts a person off, nothing is outside.
    distance = float(cv2.distanceTransform(area, cv2.DIST_L2, 3).max()) * height / area.shape[0]
    shorter = min(height, width)
    thick = min(2 * distance, shorter)
    wanted = max(thick / _BLOCKS, shorter / _SMALLEST_SHARE, _SMALLEST)
    return int(2 ** np.ceil(np.log2(wanted)))
