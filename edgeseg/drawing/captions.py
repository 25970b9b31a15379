"""Draw lines of text on a frame, and provide the metrics of OpenCV's font that legends share."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_status(image: NDArray[np.uint8], lines: Sequence[str]) -> tuple[int, int]:
    """Draw lines of text at the top left of a frame, on a darkened background.

    Args:
        image: ``(h, w, 3)`` uint8; it is drawn into.
        lines: ASCII; OpenCV's font has nothing else.

    Returns:
        ``(height, width)`` of the panel in pixels, for ``LiveLegend`` to keep off.
    """
    scale, row, pad = text_metrics(image.shape[0])
    widest = max((text_width(line, scale) for line in lines), default=0)
    size = (pad + row * len(lines), widest + 2 * pad) if lines else (0, 0)
    darken(image[: size[0], : size[1]])
    for index, line in enumerate(lines):
        cv2.putText(image, line, (pad, (index + 1) * row), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return size


def text_metrics(height: int) -> tuple[float, int, int]:
    """Return the scale of the font, the height of a row and the padding, in pixels, for an image of ``height``."""
    scale = max(0.35, min(0.8, height / 800))
    return scale, round(36 * scale), round(12 * scale)


def text_width(text: str, scale: float) -> int:
    """Return the width of a line of text in pixels."""
    return int(cv2.getTextSize(text, FONT, scale, 1)[0][0])


def cut_text(text: str, scale: float, width: int) -> str:
    """Return text that fits a width in pixels, cut with an ellipsis; empty where not even one letter fits."""
    if text_width(text, scale) <= width:
        return text
    fitting = (f"{text[:length].rstrip()}..." for length in range(len(text) - 1, 0, -1))
    return next((cut for cut in fitting if text_width(cut, scale) <= width), "")


def darken(region: NDArray[np.uint8]) -> None:
    """Darken a part of a frame in place to a quarter, as a background for light text."""
    np.right_shift(region, 2, out=region)
