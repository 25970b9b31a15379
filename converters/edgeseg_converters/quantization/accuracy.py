"""Measure what quantizing costs, class by class, on images that the calibration has not seen: the accuracy gate.

A mean over the classes hides the two that fell, so every class is measured. Without labels the classes of the float
model take their place, and only the share of pixels that kept their class is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.json import as_json
from edgeseg._internal.progress import Progress
from edgeseg._internal.spread import spread
from edgeseg._internal.text import counted
from edgeseg.datasets import Data, LabeledSplit, as_source
from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix, argmax_agreement
from edgeseg.imaging import read_image
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.images import find
from edgeseg_converters.recipes import AccuracyGate


@dataclass(frozen=True)
class EvaluationImages:
    """The images that the accuracy is measured on.

    Attributes:
        paths: of the images.
        labels: their split; ``None`` where there are no labels.
        source: for reports: the folder, and the split.
    """

    paths: tuple[Path, ...]
    labels: LabeledSplit | None
    source: str

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8] | None]]:
        """Yield each image ``(h, w, 3)`` uint8 RGB, and its label ``(h, w)`` where there is one."""
        for index, path in enumerate(self.paths):
            yield (read_image(path), None) if self.labels is None else self.labels[index]


@dataclass(frozen=True)
class Baseline:
    """The answers of the float model, measured once for all artifacts.

    Attributes:
        images: the images that it ran on.
        class_maps: ``(h, w)`` uint8 for each image, at the image's own size.
        matrix: its predictions against the labels; ``None`` without labels.
        class_names: of the ids.
    """

    images: EvaluationImages
    class_maps: tuple[NDArray[np.uint8], ...]
    matrix: ConfusionMatrix | None
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A quantized artifact compared with the float model.

    Attributes:
        source: name of the images that it was measured on.
        num_images: how many images.
        mean_iou: mIoU in [0, 1], float and quantized; ``None`` without labels, NaN where every pixel is ignored.
        per_class_iou: the same for every class; NaN for a class that does not occur.
        agreement: share of pixels with the same class in both, in [0, 1].
        changed: share of pixels that changed their class, for each image.
        passed: whether the gate is met.
        reason: why it is not met, in a sentence; empty when passed.
    """

    source: str
    num_images: int
    mean_iou: tuple[float, float] | None
    per_class_iou: dict[str, tuple[float, float]]
    agreement: float
    changed: tuple[float, ...]
    passed: bool
    reason: str

    @property
    def drop(self) -> float:
        """Points of mIoU that were lost; NaN without labels."""
        return math.nan if self.mean_iou is None else (self.mean_iou[0] - self.mean_iou[1]) * 100

    @property
    def worst_class(self) -> tuple[str, float]:
        """The class that lost most, and how many points of IoU; ``("", NaN)`` without labels."""
        drops = {name: (before - after) * 100 for name, (before, after) in self.per_class_iou.items()}
        known = {name: drop for name, drop in drops.items() if not math.isnan(drop)}
        return max(known.items(), key=lambda item: item[1]) if known else ("", math.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of ``export`` and of the report; NaN becomes null."""
        worst, worst_drop = self.worst_class
        before, after = (math.nan, math.nan) if self.mean_iou is None else self.mean_iou
        fields = {
            "source": self.source,
            "num_images": self.num_images,
            "mean_iou_float": before,
            "mean_iou": after,
            "drop_points": self.drop,
            "worst_class": worst or None,
            "worst_class_drop_points": worst_drop,
            "per_class_iou": {
                name: {"float": old, "quantized": new} for name, (old, new) in self.per_class_iou.items()
            },
            "argmax_agreement": self.agreement,
            "passed": self.passed,
            "reason": self.reason,
        }
        return as_json(fields)


def collect(data: Data, *, split: str = "val", count: int | None = None, spec: ModelSpec) -> EvaluationImages:
    """Find the images to measure on.

    Args:
        data: a labeled data set or a folder of images.
        split: of a labeled data set.
        count: how many at most, evenly spread; all when omitted.
        spec: of the model, whose number of classes the labels must have.

    Raises:
        InputError: no images, or labels of other classes.
    """
    paths, labels, source = find(data, split)
    if labels is not None and len(labels.classes.names) != spec.num_classes:
        known = len(labels.classes.names)
        raise InputError(f"the model has {counted(spec.num_classes, 'class')}, '{as_source(data).name}' has {known}.")
    count = count or len(paths)
    if labels is not None:
        labels = replace(labels, pairs=tuple(spread(labels.pairs, count)))
    return EvaluationImages(tuple(spread(paths, count)), labels, source)


def baseline(segmenter: Segmenter, images: EvaluationImages, progress: Progress | None = None) -> Baseline:
    """Run the float model."""
    maps, matrix = _run(segmenter, images, progress)
    return Baseline(images, tuple(maps), matrix, segmenter.spec.class_names)


def compare(before: Baseline, segmenter: Segmenter, gate: AccuracyGate, progress: Progress | None = None) -> Accuracy:
    """Run a quantized artifact and compare it with the float model."""
    maps, matrix = _run(segmenter, before.images, progress)
    kept = [argmax_agreement(old, new) for old, new in zip(before.class_maps, maps, strict=True)]
    mean, classes = None, {}
    if before.matrix is not None and matrix is not None:
        mean = before.matrix.mean_iou, matrix.mean_iou
        pairs = zip(before.matrix.per_class_iou, matrix.per_class_iou, strict=True)
        classes = {name: (float(old), float(new)) for name, (old, new) in zip(before.class_names, pairs, strict=True)}
    changed = tuple(1 - share for share in kept)
    accuracy = Accuracy(
        source=before.images.source,
        num_images=len(maps),
        mean_iou=mean,
        per_class_iou=classes,
        agreement=float(np.mean(kept)),
        changed=changed,
        passed=False,
        reason="",
    )
    reason = _failure(accuracy, gate)
    return Accuracy(**{**vars(accuracy), "passed": not reason, "reason": reason})


def _run(
    segmenter: Segmenter, images: EvaluationImages, progress: Progress | None
) -> tuple[list[NDArray[np.uint8]], ConfusionMatrix | None]:
    labels = images.labels
    matrix = None if labels is None else ConfusionMatrix(segmenter.spec.num_classes, labels.classes.ignore_index)
    maps = []
    for index, (image, label) in enumerate(images):
        maps.append(segmenter(image).class_map)
        if matrix is not None and label is not None:
            matrix.update(label, maps[-1])
        if progress:
            progress(index + 1, len(images.paths))
    return maps, matrix


def _failure(accuracy: Accuracy, gate: AccuracyGate) -> str:
    if accuracy.mean_iou is None:
        if accuracy.agreement < gate.min_agreement:
            return f"only {accuracy.agreement:.2%} of the pixels kept their class; at least {gate.min_agreement:.0%}"
        return ""
    if math.isnan(accuracy.drop):
        return "no pixel of its images has a label, all are ignored, so nothing was measured"
    name, drop = accuracy.worst_class
    reasons = []
    if not accuracy.drop <= gate.max_drop:
        reasons.append(f"mIoU fell by {_fall(accuracy.drop, accuracy.mean_iou)}; at most {gate.max_drop:g}")
    if not drop <= gate.max_class_drop:
        fall = _fall(drop, accuracy.per_class_iou[name])
        reasons.append(f"the class '{name}' fell by {fall}; at most {gate.max_class_drop:g}")
    return "; ".join(reasons)


def _fall(points: float, scores: tuple[float, float]) -> str:
    return f"{points:.1f} points ({scores[0]:.3f} to {scores[1]:.3f})"
