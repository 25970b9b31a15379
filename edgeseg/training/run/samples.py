"""Draw a few images with label and prediction side by side, to watch a model under training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import write_bytes
from edgeseg._internal.spread import spread
from edgeseg.datasets import LabeledSplit
from edgeseg.drawing.captions import FONT, cut_text
from edgeseg.drawing.legend import add_legend
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import render
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.imaging import at_size, encode_image, preprocess
from edgeseg.segmentation import Segmentation
from edgeseg.segmenter import to_segmentation
from edgeseg.spec import ModelSpec

_TITLES = ("image", "label", "prediction")
_LINE_HEIGHT = 24  # pixels, of a line of words
_GAP = 8  # pixels between panels
_FONT_SCALE = 0.5


def save_samples(
    predict: Callable[[NDArray[Any]], NDArray[Any]],
    data: LabeledSplit,
    spec: ModelSpec,
    path: str | Path,
    *,
    count: int = 4,
    panel_width: int = 320,
) -> None:
    """Write a sheet of one row per image, under its name and IoU; an earlier one at ``path`` is replaced atomically.

    The IoU is that of this image alone, at its label's size: the mean over the classes that are in its label or its
    prediction, and each of them. The images are spread evenly over the split and are the same each time, so that the
    sheets of two epochs can be compared. Colors are the palette's, black is the ignored id. The legend lists the
    classes by their share of the labels.

    Args:
        predict: the model in inference mode: ``(1, H, W, 3)`` float32, normalized, to ``(1, h, w, C)`` scores.
        data: the split to take the images from; its classes are the model's.
        spec: input size, normalization and colors; ``nhwc`` and scores, as a Keras model is.
        path: a ``.png`` or ``.jpg`` file.
        count: number of images; all where the split has fewer.
        panel_width: of each of the three panels, in pixels; the height keeps the image's aspect.

    Raises:
        InputError: an image is bad, or the file cannot be written.
    """
    rows, labels, look = [_titles(panel_width)], [], Look(view="mask")
    for index in spread(range(len(data)), count):
        image, label = data[index]
        tensor, placement = preprocess(image, spec)
        predicted = to_segmentation(predict(tensor), spec, placement).class_map
        size_hw = (max(1, round(panel_width * image.shape[0] / image.shape[1])), panel_width)
        small = cast("NDArray[np.uint8]", cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA))
        maps = [at_size(ids, size_hw) for ids in (label, predicted)]
        panels = [small, *(render(small, Segmentation(ids, spec), look) for ids in maps)]
        matrix = ConfusionMatrix(spec.num_classes, data.classes.ignore_index)
        matrix.update(label, predicted)
        rows += [_caption(data.pairs[index][0].name, matrix, spec, _width(panel_width)), _side_by_side(panels)]
        labels.append(maps[0])
    sheet = np.vstack(rows)
    sheet = add_legend(sheet, Segmentation(np.vstack(labels), spec), look)
    write_bytes(path, encode_image(sheet, Path(path).suffix), overwrite=True)


def _titles(panel_width: int) -> NDArray[np.uint8]:
    """Draw the words above the columns."""
    strip = _line(_width(panel_width))
    for column, title in enumerate(_TITLES):
        _write(strip, title, column * (panel_width + _GAP))
    return strip


def _caption(name: str, matrix: ConfusionMatrix, spec: ModelSpec, width: int) -> NDArray[np.uint8]:
    """Draw what an image is called and how well it is segmented."""
    strip = _line(width)
    scores = zip(spec.class_names, matrix.per_class_iou, strict=True)
    each = ", ".join(f"{name} {iou:.2f}" for name, iou in scores if not np.isnan(iou))
    scored = f"mIoU {matrix.mean_iou:.2f}: {each}" if each else "no pixel of its label counts"
    _write(strip, cut_text(f"{name}  {scored}", _FONT_SCALE, width - 12), 0)
    return strip


def _side_by_side(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((len(panels[0]), _GAP, 3), 255, np.uint8)
    parts = [part for panel in panels for part in (panel, gap)]
    return np.hstack(parts[:-1])


def _width(panel_width: int) -> int:
    return len(_TITLES) * (panel_width + _GAP) - _GAP


def _line(width: int) -> NDArray[np.uint8]:
    return np.full((_LINE_HEIGHT, width, 3), 255, np.uint8)


def _write(strip: NDArray[np.uint8], text: str, left: int) -> None:
    cv2.putText(strip, text, (left + 6, _LINE_HEIGHT - 8), FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
