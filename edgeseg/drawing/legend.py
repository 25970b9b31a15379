"""Draw a legend of the classes that occur, beside an image or into its edge."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import ColorOrder
from edgeseg.drawing.captions import FONT, darken, text_metrics
from edgeseg.segmenter import Segmentation
from edgeseg.spec import Color, ModelSpec

_OUTLINE = (128, 128, 128)


def add_legend(
    image: NDArray[np.uint8], segmentation: Segmentation, *, classes: Collection[str] | None = None
) -> NDArray[np.uint8]:
    """Put a strip to the right of an image: a color, a name and a share for each class that occurs.

    Args:
        image: ``(h, w, 3)`` RGB or ``(h, w, 4)`` RGBA, uint8.
        segmentation: gives names, colors and shares.
        classes: names of the classes to list; all that occur when omitted.

    Returns:
        The image with the strip, at the same height; the classes with most pixels where there is not room for all.
    """
    height = image.shape[0]
    scale, row, pad = text_metrics(height)
    entries = _entries(segmentation.class_map, segmentation.spec, classes)[: max(1, (height - pad) // row)]
    strip = np.full((height, _width(entries, scale, row, pad), 3), 255, np.uint8)
    _draw_entries(strip, entries, (0, 0, 0), "rgb")
    if image.shape[2] == 4:
        strip = np.dstack([strip, np.full(strip.shape[:2], 255, np.uint8)])
    return np.hstack([image, strip])


def draw_legend(
    image: NDArray[np.uint8],
    class_map: NDArray[np.uint8],
    spec: ModelSpec,
    *,
    classes: Collection[str] | None = None,
    order: ColorOrder = "rgb",
) -> None:
    """Draw the same legend into the right edge of a frame, on a darkened background: the frame keeps its size.

    Args:
        image: ``(h, w, 3)`` uint8 in ``order``; it is drawn into.
        class_map: ``(H, W)`` uint8 class ids of any size; a small map is counted faster.
        spec: names and colors.
        classes: names of the classes to list; all that occur when omitted.
        order: the color order of the frame.
    """
    height, width = image.shape[:2]
    scale, row, pad = text_metrics(height)
    entries = _entries(class_map, spec, classes)[: max(0, (height - pad) // row)]
    if entries:
        strip = image[: pad + row * len(entries), max(0, width - _width(entries, scale, row, pad)) :]
        darken(strip)
        # The text uses the metrics of the whole frame, or it would shrink with the number of classes.
        _draw_entries(strip, entries, (255, 255, 255), order, frame_height=height)


def _entries(class_map: NDArray[np.uint8], spec: ModelSpec, classes: Collection[str] | None) -> list[tuple[str, Color]]:
    """Return text and RGB color of each class that occurs, the one with most pixels first."""
    counts = np.bincount(class_map.ravel(), minlength=spec.num_classes)
    entries = [
        (int(count), name, color)
        for count, name, color in zip(counts, spec.class_names, spec.palette, strict=False)
        if count and (classes is None or name in classes)
    ]
    entries.sort(key=lambda entry: -entry[0])
    return [(f"{name}  {100 * count / class_map.size:.1f} %", color) for count, name, color in entries]


def _width(entries: Sequence[tuple[str, Color]], scale: float, row: int, pad: int) -> int:
    widest = max((cv2.getTextSize(text, FONT, scale, 1)[0][0] for text, _ in entries), default=0)
    return widest + row + 3 * pad


def _draw_entries(
    image: NDArray[np.uint8],
    entries: Sequence[tuple[str, Color]],
    ink: Color,
    order: ColorOrder,
    *,
    frame_height: int | None = None,
) -> None:
    scale, row, pad = text_metrics(frame_height or image.shape[0])
    for index, (text, color) in enumerate(entries):
        top = pad + index * row
        fill = color if order == "rgb" else color[::-1]
        corners = (pad, top), (pad + row - pad // 2, top + row - pad // 2)
        cv2.rectangle(image, *corners, fill, cv2.FILLED)
        cv2.rectangle(image, *corners, _OUTLINE, 1)  # or a white class would be invisible on white
        cv2.putText(image, text, (2 * pad + row, top + row - pad), FONT, scale, ink, 1, cv2.LINE_AA)
