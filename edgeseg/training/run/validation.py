"""Prepare the exported model with the weights that will be saved, and validate it in inference mode."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.progress import StepProgress
from edgeseg._internal.text import counted
from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.imaging import placement_of
from edgeseg.segmenter import to_segmentation
from edgeseg.training.building import RunModels
from edgeseg.training.data.augment import IGNORED
from edgeseg.training.feed import Feed
from edgeseg.training.objective.batch_norm import batch_norms, recalibrate, training_mode
from edgeseg.training.objective.metrics import ClassIoU
from edgeseg.training.objective.pixels import class_scores

# A batch's own statistics always suit it a little better than those of all images.
_FAR_APART = 1.5, 0.1  # as a factor, and as a difference


class Validator:
    """Copies the learned weights to the twin and scores the exported model.

    Args:
        models: of the run.
        feed: of the run.
        loss: of the main output; ``None`` where the epochs are not validated.
        recalibration: training examples to compute the batch-norm statistics from; 0 keeps the moving averages.
        metrics: what is watched of the main output beside the scores.
        labels: returns the label of each validation example at its own size, see ``pipeline.own_labels``; with
            ``None`` the scores are those at the model's output size.
        progress: called with what is done, the validation images done and 0, as their number is not known.
    """

    def __init__(
        self,
        models: RunModels,
        feed: Feed,
        loss: Any,
        recalibration: int,
        metrics: Sequence[keras.metrics.Metric] = (),
        *,
        labels: Callable[[], Iterator[NDArray[np.uint8]]] | None = None,
        progress: StepProgress | None = None,
    ) -> None:
        self._progress, self._labels = progress, labels
        self._models, self._feed, self._recalibration = models, feed, recalibration
        self._loss = None if loss is None else keras.losses.get(loss)
        self._counts, self._metrics = ClassIoU(models.spec.class_names), metrics

    def __call__(self) -> dict[str, float]:
        """Prepare the exported model, and return scores of all the validation images.

        Returns:
            ``val_mean_iou``, ``val_pixel_accuracy`` and ``val_iou_CLASS`` of each class, in [0, 1], NaN for a class
            without pixels, as ``edgeseg.evaluation`` computes them; and at the model's output size ``val_loss``, the
            mean over the images, and ``val_NAME`` of each metric. Nothing where the epochs are not validated.

        Raises:
            InputError: no pixel counts.
        """
        self._models.update_twin()
        if self._recalibration and batch_norms(self._models.twin):
            inputs = self._feed.statistics(self._recalibration)
            recalibrate(self._models.twin, inputs, like=self._models.learning)
        if self._loss is None:
            return {}
        for metric in (self._counts, *self._metrics):
            metric.reset_state()
        spec, labels = self._models.spec, None if self._labels is None else self._labels()
        matrix = ConfusionMatrix(spec.num_classes, IGNORED)
        loss, images = 0.0, 0
        # Not evaluate(), which warns at the end of data of unknown length; test_on_batch() forgets the batches before.
        for inputs, fitted in self._feed.validation():
            logits = self._models.exported.predict_on_batch(inputs)
            for metric in self._metrics if labels is not None else (self._counts, *self._metrics):
                metric.update_state(fitted, logits)
            if labels is not None:
                scores = keras.ops.convert_to_numpy(class_scores(logits))
                for label, one in zip(itertools.islice(labels, len(scores)), scores, strict=True):
                    matrix.update(label, to_segmentation(one[None], spec, placement_of(label.shape, spec)).class_map)
            loss += len(logits) * self._mean_loss(fitted, logits)
            images += len(logits)
            if self._progress:
                self._progress(f"validating, {counted(images, 'image')} done", images, 0)
        if labels is None:
            matrix = self._counts.confusion_matrix()
        if not matrix.counts.any():
            raise InputError("no pixel of the validation labels counts, all are ignored; no epoch can be the best.")
        named = zip(self._counts.class_names, matrix.per_class_iou, strict=True)
        found = {
            "val_loss": loss / images,
            "val_mean_iou": matrix.mean_iou,
            "val_pixel_accuracy": matrix.pixel_accuracy,
            **{f"val_iou_{name}": float(iou) for name, iou in named},
        }
        # A metric that is watched may have the name of one of these, at the model's output size.
        watched = {f"val_{name}": value for metric in self._metrics for name, value in _results(metric)}
        return found | {name: value for name, value in watched.items() if name not in found}

    def batch_norm_gap(self) -> str | None:
        """Return a warning where the moving statistics do not fit the weights: one batch, in either mode."""
        if self._loss is None or not batch_norms(self._models.exported):
            return None
        inputs, labels = next(iter(self._feed.validation()))
        training = self._mean_loss(labels, training_mode(self._models.exported, inputs))
        inference = self._mean_loss(labels, self._models.exported(inputs, training=False))
        factor, difference = _FAR_APART
        if inference < max(training * factor, training + difference):
            return None
        return (
            f"batch norm does not fit the weights yet: on the same images the loss is {training:.3f} with their own "
            f"statistics and {inference:.3f} with the model's, which is what is exported and was measured; train "
            "longer, with `batch_norm_recalibration=64` or with a lower `batch_norm_momentum`."
        )

    def _mean_loss(self, labels: Any, scores: Any) -> float:
        """Return the mean, of a run that is validated; a function of the caller's may give a number for each pixel."""
        assert self._loss is not None
        return float(keras.ops.convert_to_numpy(self._loss(labels, scores)).mean())


def _results(metric: keras.metrics.Metric) -> Iterator[tuple[str, float]]:
    """Yield the value of a metric by its name, or several by theirs."""
    result = metric.result()
    named = result if isinstance(result, Mapping) else {metric.name: result}
    for name, value in named.items():
        yield name, float(keras.ops.convert_to_numpy(value).mean())
