"""Segmentation metrics from one confusion matrix: IoU, pixel accuracy, and the agreement of two class maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError


class ConfusionMatrix:
    """Counts of (label, prediction) pairs, summed over pictures.

    Example:
        >>> matrix = ConfusionMatrix(num_classes=2, ignore_index=255)
        >>> matrix.update(np.array([[0, 1, 255]]), np.array([[0, 0, 1]]))
        >>> matrix.pixel_accuracy
        0.5
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        #: ``(C, C)`` int64; the row is the label, the column the prediction.
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)

    def update(self, label: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Count one picture, or a batch of pictures.

        Args:
            label: class ids of any shape, integer; ``ignore_index`` is not counted.
            prediction: class ids of the same shape, each below ``num_classes``.

        Raises:
            InputError: the shapes differ, or an id is no class and not the ignored one.
        """
        if label.shape != prediction.shape:
            raise InputError(f"label is {label.shape} and prediction is {prediction.shape}; they must be equal.")
        valid = np.ones(label.shape, bool) if self.ignore_index is None else label != self.ignore_index
        label, prediction = label[valid].astype(np.int64), prediction[valid].astype(np.int64)
        for what, ids in (("label", label), ("prediction", prediction)):
            if ids.size and (ids.min() < 0 or ids.max() >= self.num_classes):
                raise InputError(
                    f"{what} has id {ids.max() if ids.min() >= 0 else ids.min()}, but there are "
                    f"{self.num_classes} classes (0 to {self.num_classes - 1}) and ignore_index is {self.ignore_index}."
                )
        pairs = np.bincount(label * self.num_classes + prediction, minlength=self.num_classes**2)
        self.counts += pairs.reshape(self.num_classes, self.num_classes)

    @property
    def per_class_iou(self) -> NDArray[np.float64]:
        """``(C,)`` intersection over union in [0, 1]; NaN for a class in neither label nor prediction."""
        intersection = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - intersection
        iou = np.full(self.num_classes, np.nan)
        np.divide(intersection, union, out=iou, where=union > 0)
        return iou

    @property
    def mean_iou(self) -> float:
        """Mean IoU in [0, 1]: the mean over the classes that occur; NaN when none does."""
        iou = self.per_class_iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels whose class is right, in [0, 1]; NaN without pixels."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")


def argmax_agreement(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Share of pixels with the same class in two class maps of one shape, in [0, 1]."""
    if a.shape != b.shape:
        raise InputError(f"class maps of shape {a.shape} and {b.shape} cannot be compared.")
    return float(np.mean(a == b))
