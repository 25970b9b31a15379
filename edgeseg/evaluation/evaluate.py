"""Score any model that a ``Segmenter`` runs: the Keras model and its artifacts go through the same code."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import as_json
from edgeseg._internal.progress import Progress
from edgeseg._internal.text import counted
from edgeseg.datasets import Classes, LabeledSplit
from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.html.notebook import html_table
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, default_class_names

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Scores over a split, at the labels' own size; all are in [0, 1], and NaN where there is nothing to score.

    Attributes:
        num_images: number of images counted.
        class_names: of the data, in the order of the ids.
        matrix: the counted pixels, from which every score is computed.
        nearest: the same where the best class is taken at the model's size and then enlarged by nearest neighbor, as
            that of a file of class ids is; ``None`` where the model gives class ids, or nothing is enlarged.
    """

    __repr__ = short_repr

    num_images: int
    class_names: tuple[str, ...]
    matrix: ConfusionMatrix
    nearest: ConfusionMatrix | None = None

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur."""
        return self.matrix.mean_iou

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels whose class is right."""
        return self.matrix.pixel_accuracy

    @property
    def per_class_iou(self) -> dict[str, float]:
        """IoU by class name; NaN for a class in neither labels nor predictions."""
        return self._by_name(self.matrix.per_class_iou)

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """``iou``, ``precision``, ``recall`` (a class's pixel accuracy) and ``f_score``, each by class name."""
        return {
            "iou": self.per_class_iou,
            "precision": self._by_name(self.matrix.per_class_precision),
            "recall": self._by_name(self.matrix.per_class_recall),
            "f_score": self._by_name(self.matrix.per_class_f_score()),
        }

    @property
    def means(self) -> dict[str, float]:
        """The scores of the whole split by their names in JSON."""
        matrix = self.matrix
        return {
            "mean_iou": matrix.mean_iou,
            "mean_pixel_accuracy": matrix.mean_pixel_accuracy,
            "mean_precision": matrix.mean_precision,
            "mean_recall": matrix.mean_pixel_accuracy,
            "pixel_accuracy": matrix.pixel_accuracy,
            "frequency_weighted_iou": matrix.frequency_weighted_iou,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``edgeseg evaluate --json``; NaN, which JSON lacks, becomes null.

        ``mean_iou_nearest`` is only there for a model with scores, see ``nearest``. ``confusion_matrix`` has a row for
        each class of the labels and a column for each of the predictions, in pixels.
        """
        scores = {f"per_class_{what}": by_name for what, by_name in self.per_class.items()}
        return {
            "num_images": self.num_images,
            **as_json({**self.means, **scores}),
            **({} if self.nearest is None else as_json({"mean_iou_nearest": self.nearest.mean_iou})),
            "class_names": list(self.class_names),
            "confusion_matrix": self.matrix.counts.tolist(),
        }

    def _repr_html_(self) -> str:
        """Return the mIoU and the IoU of each class as a table, for a notebook."""
        scores = {"mIoU": self.mean_iou, "pixel accuracy": self.pixel_accuracy, **self.per_class_iou}
        rows = [(name, "-" if math.isnan(score) else f"{score:.3f}") for name, score in scores.items()]
        return html_table([*rows, ("images", str(self.num_images))])

    def _by_name(self, scores: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self.class_names, scores.tolist(), strict=True))


def require_classes(spec: ModelSpec, classes: Classes) -> None:
    """Check that a model has the classes of the data; other names of as many are a warning.

    Raises:
        InputError: the number of classes differs.
    """
    names = spec.class_names
    if len(names) != len(classes.names):
        raise InputError(f"the model has {counted(len(names), 'class')}, the data has {len(classes.names)}.")
    if names != classes.names and names != default_class_names(len(names)):
        _log.warning("the model's classes are %s, the data's are %s", ", ".join(names), ", ".join(classes.names))


def evaluate(
    segmenter: Segmenter,
    data: LabeledSplit,
    *,
    tiles: bool = False,
    overlap: int | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Score a model on a labeled split.

    Args:
        segmenter: the model.
        data: the split; its classes must be the model's.
        tiles: segment each image at its own size, window by window; see ``Segmenter.tiled``.
        overlap: of windows, in pixels.
        progress: called with (images done, images in all).

    Raises:
        InputError: the number of classes differs, or an image is bad.
    """
    names = segmenter.spec.class_names
    require_classes(segmenter.spec, data.classes)
    matrix = ConfusionMatrix(len(names), data.classes.ignore_index)
    enlarges = segmenter.gives_scores and not tiles
    nearest = ConfusionMatrix(len(names), data.classes.ignore_index) if enlarges else None
    for index in range(len(data)):
        image, label = data[index]
        segmentation = segmenter.tiled(image, overlap=overlap) if tiles else segmenter(image)
        matrix.update(label, segmentation.class_map)
        if nearest is not None and segmentation.score_map is not None:
            nearest.update(label, segmentation.score_map.nearest_class_map())
        if progress:
            progress(index + 1, len(data))
    return EvaluationResult(len(data), data.classes.names, matrix, nearest)
