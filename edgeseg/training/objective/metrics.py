"""Define streaming Keras metrics of logits against class ids: the scores of ``ConfusionMatrix``, at any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from edgeseg.choices import WatchedMetric
from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.training.data.augment import IGNORED
from edgeseg.training.objective.pixels import class_ids, class_scores

# Counts are kept as two float32 numbers, high * _BASE + low: exact up to 2^44 pixels on every backend and device.
# One float32, as in Keras' own MeanIoU, rounds from 2^24 on, 97 images of CamVid; int64 is off in JAX.
_BASE = 2**20


class _Counts(keras.metrics.Metric):  # type: ignore[misc]  # keras has no type information
    """Sums pixel counts over the batches."""

    def __init__(self, num_classes: int, shape: tuple[int, ...], ignore_index: int | None, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        if num_classes < 2:
            raise InputError(f"num_classes must be 2 or more, got {num_classes}.")
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self._low = self.add_variable(shape, "zeros", dtype="float32", name="low")
        self._high = self.add_variable(shape, "zeros", dtype="float32", name="high")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {"num_classes": self.num_classes, "ignore_index": self.ignore_index, "name": self.name}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Args:
            y_true: ``(B, ...)`` or ``(B, ..., 1)`` class ids of any dtype; an id that is no class is not counted.
            y_pred: ``(B, ..., C)`` logits; of two classes also ``(B, ..., 1)``, see ``class_scores``.
            sample_weight: Keras passes it; a pixel counts once or, where ignored, not at all.

        Raises:
            InputError: there are sample weights, not ``num_classes`` logits per pixel, or shapes that do not belong
                together.
        """
        if sample_weight is not None:
            raise InputError(f"{self.name} counts pixels without weights: give it as one of metrics=[...].")
        logits = ops.convert_to_tensor(y_pred)
        ids, logits = class_ids(y_true, logits), class_scores(logits)
        if logits.shape[-1] != self.num_classes or len(ids.shape) != len(logits.shape) - 1:
            raise InputError(
                f"{self.name} is of {self.num_classes} classes; labels are {tuple(ids.shape)}, "
                f"logits {tuple(logits.shape)}."
            )
        counted = ops.logical_and(ids >= 0, ids < self.num_classes)
        if self.ignore_index is not None:
            counted = ops.logical_and(counted, ops.not_equal(ids, self.ignore_index))
        counts = self._count(ids, counted, logits)
        low = self._low + ops.cast(counts % _BASE, "float32")
        carry = ops.floor(low / _BASE)
        self._high.assign(self._high + ops.cast(counts // _BASE, "float32") + carry)
        self._low.assign(low - carry * _BASE)

    def _count(self, ids: Any, counted: Any, logits: Any) -> Any:
        """Return the counts of one batch, int32."""
        raise NotImplementedError

    @property
    def _totals(self) -> Any:
        """The totals as float32: rounded, as is every ratio of them."""
        return self._high * _BASE + self._low

    def _exact(self) -> NDArray[np.int64]:
        high, low = (ops.convert_to_numpy(part).astype(np.int64) for part in (self._high, self._low))
        exact: NDArray[np.int64] = high * _BASE + low
        return exact


class _Matrix(_Counts):
    def __init__(self, num_classes: int, *, ignore_index: int | None = IGNORED, name: str) -> None:
        super().__init__(num_classes, (num_classes, num_classes), ignore_index, name)

    def confusion_matrix(self) -> ConfusionMatrix:
        """Return the exact counts since the last reset, for every score of ``edgeseg.evaluation.confusion``."""
        matrix = ConfusionMatrix(self.num_classes, self.ignore_index)
        matrix.counts = self._exact()
        return matrix

    def _count(self, ids: Any, counted: Any, logits: Any) -> Any:
        cells = self.num_classes**2
        pairs = ids * self.num_classes + ops.cast(ops.argmax(logits, axis=-1), "int32")
        pairs = ops.reshape(ops.where(counted, pairs, cells), (-1,))  # pixels that do not count go into an extra cell
        counts = ops.segment_sum(ops.ones_like(pairs), pairs, num_segments=cells + 1)
        return ops.reshape(counts[:cells], (self.num_classes, self.num_classes))

    def _iou(self) -> Any:
        totals = self._totals
        hits = ops.diagonal(totals)
        return hits / (ops.sum(totals, axis=0) + ops.sum(totals, axis=1) - hits)  # 0 / 0 is NaN


@keras.saving.register_keras_serializable(package="edgeseg")
class MeanIoU(_Matrix):
    """Mean IoU over the classes that occur, in [0, 1]: ``ConfusionMatrix.mean_iou``; NaN before anything is counted.

    Examples:
        >>> model.compile("adam", SegmentationLoss(), metrics=[MeanIoU(num_classes=11)])
    """

    def __init__(self, num_classes: int, *, ignore_index: int | None = IGNORED, name: str = "mean_iou") -> None:
        super().__init__(num_classes, ignore_index=ignore_index, name=name)

    def result(self) -> Any:
        """Return a float32 scalar."""
        return _mean_of_defined(self._iou())


@keras.saving.register_keras_serializable(package="edgeseg")
class ClassIoU(_Matrix):
    """IoU of each class by its name, in [0, 1]: ``ConfusionMatrix.per_class_iou``; NaN for a class without pixels."""

    def __init__(self, class_names: Sequence[str], *, ignore_index: int | None = IGNORED, name: str = "iou") -> None:
        super().__init__(len(class_names), ignore_index=ignore_index, name=name)
        self.class_names = tuple(class_names)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {"class_names": list(self.class_names), "ignore_index": self.ignore_index, "name": self.name}

    def result(self) -> dict[str, Any]:
        """Return float32 scalars by ``NAME_CLASS``, as in ``iou_road``."""
        iou = self._iou()
        return {f"{self.name}_{name}": iou[index] for index, name in enumerate(self.class_names)}


@keras.saving.register_keras_serializable(package="edgeseg")
class PixelAccuracy(_Matrix):
    """Share of the counted pixels whose class is right, in [0, 1]: ``ConfusionMatrix.pixel_accuracy``."""

    def __init__(self, num_classes: int, *, ignore_index: int | None = IGNORED, name: str = "pixel_accuracy") -> None:
        super().__init__(num_classes, ignore_index=ignore_index, name=name)

    def result(self) -> Any:
        """Return a float32 scalar; NaN before anything is counted."""
        return ops.trace(self._totals) / ops.sum(self._totals)


@keras.saving.register_keras_serializable(package="edgeseg")
class FScore(_Counts):
    """Mean F-score over the classes that occur, of the classes whose softmax is above a threshold.

    ``(1 + b^2) tp / ((1 + b^2) tp + b^2 fn + fp)`` for each class over all pixels since the reset, as in the tutorials;
    theirs is per batch, averaged over batches, and a class without pixels scores 1 there and is omitted here. At a
    threshold of 0.5 or more a pixel may have no class, below it several. Without a threshold a pixel has its best
    class, and this is the mean of ``ConfusionMatrix.per_class_f_score``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        beta: float = 1.0,
        threshold: float | None = 0.5,
        ignore_index: int | None = IGNORED,
        name: str = "f_score",
    ) -> None:
        """Check the settings.

        Args:
            num_classes: logits per pixel.
            beta: how many times as much recall counts as precision, above 0.
            threshold: of the softmax, in [0, 1); ``None`` takes the best class.
            ignore_index: id whose pixels do not count.
            name: for logs.

        Raises:
            InputError: a setting is out of its range.
        """
        super().__init__(num_classes, (3, num_classes), ignore_index, name)
        if beta <= 0:
            raise InputError(f"beta must be above 0, got {beta}.")
        if threshold is not None and not 0 <= threshold < 1:
            raise InputError(f"threshold must be at least 0 and below 1, or None, got {threshold}.")
        self.beta, self.threshold = beta, threshold

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {**super().get_config(), "beta": self.beta, "threshold": self.threshold}

    def _count(self, ids: Any, counted: Any, logits: Any) -> Any:
        labeled = ops.one_hot(ops.where(counted, ids, 0), self.num_classes, dtype="bool")
        if self.threshold is None:
            predicted = ops.one_hot(ops.argmax(logits, axis=-1), self.num_classes, dtype="bool")
        else:
            predicted = ops.softmax(ops.cast(logits, "float32"), axis=-1) > self.threshold
        labeled, predicted = (ops.logical_and(each, counted[..., None]) for each in (labeled, predicted))
        each = ops.stack([ops.logical_and(labeled, predicted), labeled, predicted])
        return ops.sum(ops.cast(each, "int32"), axis=tuple(range(1, len(each.shape) - 1)))

    def result(self) -> Any:
        """Return a float32 scalar; NaN before anything is counted."""
        hits, labeled, predicted = ops.unstack(self._totals, 3)
        return _mean_of_defined((1 + self.beta**2) * hits / (self.beta**2 * labeled + predicted))


def _mean_of_defined(scores: Any) -> Any:
    defined = ops.logical_not(ops.isnan(scores))
    return ops.sum(ops.where(defined, scores, 0.0)) / ops.sum(ops.cast(defined, "float32"))


_BY_NAME: Mapping[WatchedMetric, Callable[[int], keras.metrics.Metric]] = MappingProxyType(
    {"f-score": FScore, "pixel-accuracy": PixelAccuracy, "mean-iou": MeanIoU}
)


def make_metrics(chosen: Sequence[Any], num_classes: int) -> list[keras.metrics.Metric]:
    """Make metrics that count on their own: those that were chosen are not touched.

    Args:
        chosen: names of ``WatchedMetric``, metrics, and functions of labels and scores.
        num_classes: scores per pixel.

    Raises:
        InputError: a metric cannot be made again from its config.
    """
    return [_made(each, num_classes) for each in chosen]


def _made(chosen: Any, num_classes: int) -> keras.metrics.Metric:
    if isinstance(chosen, str):
        return _BY_NAME[chosen](num_classes)  # type: ignore[index]  # RunOptions.check has refused other names
    if isinstance(chosen, keras.metrics.Metric):
        try:
            return type(chosen).from_config(chosen.get_config())
        except TypeError as error:
            raise InputError(f"the metric '{chosen.name}' cannot be made from its get_config: {error}.") from error
    return keras.metrics.MeanMetricWrapper(chosen, name=getattr(chosen, "__name__", type(chosen).__name__))
