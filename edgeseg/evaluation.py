"""mIoU of any model that a ``Segmenter`` runs: the Keras model and its artifacts go through the same code."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeseg.datasets import LabelledSplit
from edgeseg.errors import InputError
from edgeseg.metrics import ConfusionMatrix
from edgeseg.segmenter import Segmenter
from edgeseg.spec import default_class_names

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationResult:
    """Scores over a split, at the labels' own size.

    Attributes:
        num_images: pictures that were counted.
        mean_iou: mIoU in [0, 1] over the classes that occur.
        pixel_accuracy: in [0, 1].
        per_class_iou: IoU in [0, 1] by class name; NaN for a class in neither labels nor predictions.
    """

    num_images: int
    mean_iou: float
    pixel_accuracy: float
    per_class_iou: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``edgeseg evaluate --json``; NaN, which JSON lacks, becomes null."""
        return {
            "num_images": self.num_images,
            "mean_iou": _or_null(self.mean_iou),
            "pixel_accuracy": _or_null(self.pixel_accuracy),
            "per_class_iou": {name: _or_null(iou) for name, iou in self.per_class_iou.items()},
        }


def evaluate(
    segmenter: Segmenter, data: LabelledSplit, *, progress: Callable[[int, int], None] | None = None
) -> EvaluationResult:
    """Score a model on a labelled split.

    Args:
        segmenter: the model.
        data: the split; its classes must be the model's.
        progress: called with (pictures done, pictures in all).

    Raises:
        InputError: the number of classes differs, or a picture is bad.
    """
    names = segmenter.spec.class_names
    if len(names) != len(data.classes.names):
        raise InputError(f"the model has {len(names)} classes, the data has {len(data.classes.names)}.")
    if names != data.classes.names and names != default_class_names(len(names)):
        _log.warning("the model's classes are %s, the data's are %s", ", ".join(names), ", ".join(data.classes.names))
    matrix = ConfusionMatrix(len(names), data.classes.ignore_index)
    for index in range(len(data)):
        image, label = data[index]
        matrix.update(label, segmenter(image).class_map)
        if progress:
            progress(index + 1, len(data))
    iou = dict(zip(data.classes.names, (float(value) for value in matrix.per_class_iou), strict=True))
    return EvaluationResult(len(data), matrix.mean_iou, matrix.pixel_accuracy, iou)


def _or_null(score: float) -> float | None:
    return None if math.isnan(score) else score
