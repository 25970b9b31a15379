"""Compute segmentation metrics from one confusion matrix: IoU, accuracy, precision, recall; and compare class maps.

Pixel accuracy, mean accuracy, mean IoU and frequency-weighted IoU are those of Long, Shelhamer and Darrell 2015, "Fully
Convolutional Networks for Semantic Segmentation", section 5. A score whose divisor is 0 is NaN, and a mean covers the
classes that have the score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError


class ConfusionMatrix:
    """Counts of (label, prediction) pairs, summed over images.

    Examples:
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
        """Count one image, or a batch of images.

        Args:
            label: class ids of any shape, integer; ``ignore_index`` is not counted.
            prediction: class ids of the same shape, each below ``num_classes``.

        Raises:
            InputError: the shapes differ, or an id is neither a class nor the ignored one.
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
        hits, labeled, predicted = self._sums()
        return _ratio(hits, labeled + predicted - hits)

    @property
    def per_class_recall(self) -> NDArray[np.float64]:
        """``(C,)`` share of a class's labeled pixels that are predicted so, its pixel accuracy; NaN without label."""
        hits, labeled, _ = self._sums()
        return _ratio(hits, labeled)

    @property
    def per_class_precision(self) -> NDArray[np.float64]:
        """``(C,)`` share of the pixels predicted as a class that are labeled so; NaN for a class never predicted."""
        hits, _, predicted = self._sums()
        return _ratio(hits, predicted)

    def per_class_f_score(self, beta: float = 1.0) -> NDArray[np.float64]:
        """Return the weighted harmonic mean of precision and recall (van Rijsbergen 1979); for ``beta`` 1 it is Dice.

        Args:
            beta: how many times as much recall counts as precision, above 0.

        Returns:
            ``(C,)`` in [0, 1]; NaN for a class in neither label nor prediction.
        """
        hits, labeled, predicted = self._sums()
        return _ratio((1 + beta**2) * hits, beta**2 * labeled + predicted)

    @property
    def mean_iou(self) -> float:
        """Mean IoU in [0, 1]: the mean over the classes that occur; NaN when none does."""
        return _mean(self.per_class_iou)

    @property
    def mean_pixel_accuracy(self) -> float:
        """Mean pixel accuracy (mPA) in [0, 1], the mean over the classes; the same as their mean recall."""
        return _mean(self.per_class_recall)

    @property
    def mean_precision(self) -> float:
        """Mean precision in [0, 1], over the classes that are predicted anywhere."""
        return _mean(self.per_class_precision)

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU in [0, 1] averaged over the classes by their labeled pixels; NaN without pixels."""
        _, labeled, _ = self._sums()
        weighted = np.where(labeled > 0, labeled * self.per_class_iou, 0.0)  # 0 * NaN is NaN
        return float(weighted.sum() / labeled.sum()) if labeled.any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels whose class is right, in [0, 1]; NaN without pixels."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")

    def _sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the pixels that are right, labeled and predicted, each ``(C,)``."""
        counts = self.counts.astype(np.float64)
        return np.diag(counts), counts.sum(1), counts.sum(0)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(above.shape, np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


def _mean(scores: NDArray[np.float64]) -> float:
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def argmax_agreement(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Return the share of pixels with the same class in two class maps of one shape, in [0, 1]."""
    if a.shape != b.shape:
        raise InputError(f"class maps of shape {a.shape} and {b.shape} cannot be compared.")
    return float(np.mean(a == b))
