"""Drawing class maps: overlay, mask and cut-out, and a legend. Colour comes by table look-up, never by class loops."""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.segmenter import Segmentation
from edgeseg.spec import ModelSpec, View


def render(
    view: View,
    image_rgb: NDArray[np.uint8],
    segmentation: Segmentation,
    *,
    alpha: float = 0.6,
    classes: Collection[str] | None = None,
) -> NDArray[np.uint8]:
    """Draw one view of a segmented picture.

    Args:
        view: ``overlay`` blends the class colours into the picture, ``mask`` is the colours alone,
            ``cutout`` keeps the chosen classes and makes the rest transparent.
        image_rgb: ``(h, w, 3)`` uint8 RGB, the picture that was segmented.
        segmentation: what the Segmenter returned for it.
        alpha: weight of the colours in the overlay, in [0, 1].
        classes: names of the classes to show; all when left out, for a cut-out all but ``background``.

    Returns:
        ``(h, w, 3)`` uint8 RGB, or ``(h, w, 4)`` RGBA for a cut-out.

    Raises:
        InputError: an unknown class name, or a cut-out of a model without ``background`` and no classes given.
    """
    spec = segmentation.spec
    shown = class_filter(spec, classes)
    if view == "cutout":
        if classes is None:
            if "background" not in spec.class_names:
                raise InputError(
                    f"a cut-out needs --classes: this model has no class 'background' to leave out. "
                    f"Its classes: {', '.join(spec.class_names)}."
                )
            shown[spec.class_names.index("background")] = False
        opacity = cv2.LUT(segmentation.class_map, np.where(shown, 255, 0).astype(np.uint8))
        return np.dstack([image_rgb, opacity])
    colours = colour_table(spec)[segmentation.class_map]
    if view == "mask":
        return np.where(shown[segmentation.class_map, None], colours, 0)
    blended = cv2.addWeighted(image_rgb, 1 - alpha, colours, alpha, 0)
    if shown.all():
        return blended  # type: ignore[return-value]
    return np.where(shown[segmentation.class_map, None], blended, image_rgb)


def add_legend(
    image: NDArray[np.uint8], segmentation: Segmentation, *, classes: Collection[str] | None = None
) -> NDArray[np.uint8]:
    """Put a strip to the right of a picture: a colour, a name and a share for each class that occurs.

    Args:
        image: ``(h, w, 3)`` RGB or ``(h, w, 4)`` RGBA, uint8.
        segmentation: gives names, colours and shares.
        classes: names of the classes to list; all that occur when left out.

    Returns:
        The picture with the strip, as high as before; the classes with most pixels where not all have room.
    """
    height = image.shape[0]
    counts = segmentation.counts()
    occurring = sorted(
        (name for name in counts if counts[name] and (classes is None or name in classes)),
        key=lambda name: -counts[name],
    )
    scale = max(0.35, min(0.8, height / 800))
    row, pad = round(36 * scale), round(12 * scale)
    font = cv2.FONT_HERSHEY_SIMPLEX
    total = segmentation.class_map.size
    lines = [(name, f"{name}  {100 * counts[name] / total:.1f} %") for name in occurring]
    lines = lines[: max(1, (height - pad) // row)]
    widest = max((cv2.getTextSize(text, font, scale, 1)[0][0] for _, text in lines), default=0)
    strip = np.full((height, widest + row + 3 * pad, 3), 255, np.uint8)
    palette = dict(zip(segmentation.spec.class_names, segmentation.spec.palette, strict=True))
    for index, (name, text) in enumerate(lines):
        top = pad + index * row
        cv2.rectangle(strip, (pad, top), (pad + row - pad // 2, top + row - pad // 2), palette[name], cv2.FILLED)
        cv2.putText(strip, text, (2 * pad + row, top + row - pad), font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    if image.shape[2] == 4:
        strip = np.dstack([strip, np.full(strip.shape[:2], 255, np.uint8)])
    return np.hstack([image, strip])


def colour_table(spec: ModelSpec) -> NDArray[np.uint8]:
    """``(256, 3)`` uint8 RGB: the palette, black for every id that is no class."""
    table = np.zeros((256, 3), np.uint8)
    table[: spec.num_classes] = spec.palette
    return table


def class_filter(spec: ModelSpec, classes: Collection[str] | None) -> NDArray[np.bool_]:
    """``(256,)`` bool: which ids are shown; all of them when ``classes`` is ``None``.

    Raises:
        InputError: a name that the model does not have.
    """
    if classes is None:
        return np.ones(256, bool)
    unknown = [name for name in classes if name not in spec.class_names]
    if unknown:
        raise InputError(f"unknown class '{unknown[0]}'; the model has: {', '.join(spec.class_names)}.")
    shown = np.zeros(256, bool)
    shown[[spec.class_names.index(name) for name in classes]] = True
    return shown
