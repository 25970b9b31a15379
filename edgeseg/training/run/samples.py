"""Draw a few images with label and prediction side by side, to watch a model under training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import write_bytes
from edgeseg._internal.spread import spread
from edgeseg.datasets import LabeledSplit
from edgeseg.drawing.legend import add_legend
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import render
from edgeseg.imaging import at_size, encode_image, preprocess, restore
from edgeseg.segmenter import Segmentation, to_class_map
from edgeseg.spec import ModelSpec

_TITLES = ("image", "label", "prediction")
_TITLE_HEIGHT = 24  # pixels


def save_samples(
    predict: Callable[[NDArray[Any]], NDArray[Any]],
    data: LabeledSplit,
    spec: ModelSpec,
    path: str | Path,
    *,
    count: int = 4,
    panel_width: int = 320,
) -> None:
    """Write a sheet of one row per image; an earlier one at ``path`` is replaced atomically.

    The images are spread evenly over the split and are the same each time, so that the sheets of two epochs can be
    compared. Colors are the palette's, black is the ignored id. The legend lists the classes by their share of the
    labels.

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
    rows, labels, look = [], [], Look(view="mask")
    for index in spread(range(len(data)), count):
        image, label = data[index]
        tensor, placement = preprocess(image, spec)
        predicted = restore(to_class_map(predict(tensor), spec), placement)
        size_hw = (max(1, round(panel_width * image.shape[0] / image.shape[1])), panel_width)
        small = cast("NDArray[np.uint8]", cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA))
        maps = [at_size(ids, size_hw) for ids in (label, predicted)]
        rows.append(np.hstack([small, *(render(small, Segmentation(ids, spec), look) for ids in maps)]))
        labels.append(maps[0])
    sheet = np.vstack([_titles(panel_width), *rows])
    sheet = add_legend(sheet, Segmentation(np.vstack(labels), spec), look)
    write_bytes(path, encode_image(sheet, Path(path).suffix), overwrite=True)


def _titles(panel_width: int) -> NDArray[np.uint8]:
    """Draw the words above the columns, ``(24, 3 * panel_width, 3)`` uint8."""
    strip = np.full((_TITLE_HEIGHT, len(_TITLES) * panel_width, 3), 255, np.uint8)
    for column, title in enumerate(_TITLES):
        place = (column * panel_width + 6, _TITLE_HEIGHT - 8)
        cv2.putText(strip, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
