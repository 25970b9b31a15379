"""Draw where a device differs from the Keras model: the image, what was expected, what came, and the difference."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.drawing.captions import draw_status
from edgeseg.drawing.painter import drawing_table
from edgeseg.imaging import at_size
from edgeseg.proof.file import Proof

#: A decided pixel of another class, and one that rounding may decide, in RGB.
_WRONG, _TIE = (255, 40, 40), (255, 200, 0)
_GAP = 8  # pixels between two images
_LEAST_WIDTH = 320  # of one of the four, so that the captions are read


def draw_difference(proof: Proof, index: int, got: NDArray[np.uint8], decided_from: float) -> NDArray[np.uint8]:
    """Draw one image of a proof in four views, two beside each other.

    Args:
        proof: has the image, and what Keras says of it.
        index: of the image.
        got: ``(h, w)`` uint8, the class map of the device.
        decided_from: the margin from which on a pixel is decided.

    Returns:
        uint8 RGB: the image, the expected classes, the classes that came, and the difference over a gray image: red
        where a decided pixel has another class, yellow where rounding may have decided.
    """
    image = proof.images[index]
    height, width = image.image_rgb.shape[:2]
    colors = drawing_table(proof.spec)
    differs = image.class_map != got
    decided = image.margins >= decided_from
    marks = np.zeros(got.shape, np.uint8)
    marks[differs & ~decided] = 1
    marks[differs & decided] = 2
    marks = at_size(marks, (height, width))
    gray = cv2.cvtColor(cv2.cvtColor(image.image_rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    difference: NDArray[np.uint8] = (gray // 2 + 32).astype(np.uint8)
    difference[marks == 1] = _TIE
    difference[marks == 2] = _WRONG
    wrong, ties = int((differs & decided).sum()), int((differs & ~decided).sum())
    views = {
        f"image {index}": image.image_rgb,
        "expected": colors[at_size(image.class_map, (height, width))],
        "got": colors[at_size(got, (height, width))],
        f"red: {wrong / got.size:.2%} wrong, yellow: {ties / got.size:.2%} ties": difference,
    }
    drawn = [_titled(view, title) for title, view in views.items()]
    gap = np.full((drawn[0].shape[0], _GAP, 3), 255, np.uint8)
    rows = [np.hstack([drawn[0], gap, drawn[1]]), np.hstack([drawn[2], gap, drawn[3]])]
    return np.vstack([rows[0], np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8), rows[1]])


def _titled(view: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """Return a view, enlarged where it is small, with a caption at the top left."""
    factor = max(1, -(-_LEAST_WIDTH // view.shape[1]))
    image = np.ascontiguousarray(view.repeat(factor, axis=0).repeat(factor, axis=1))
    draw_status(image, [title])
    return image
