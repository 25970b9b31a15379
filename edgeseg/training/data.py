"""Input pipelines: deterministic by seed, parallel, and positioned at any epoch for a resumed run."""

from __future__ import annotations

from typing import Any

import cv2
import grain
import numpy as np
from numpy.typing import NDArray

from edgeseg.datasets import LabelledSplit
from edgeseg.errors import InputError
from edgeseg.imaging import letterbox, normalize
from edgeseg.spec import ModelSpec
from edgeseg.training.augment import IGNORED, Augmentation

Example = tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]


def training_pipeline(
    data: LabelledSplit,
    spec: ModelSpec,
    augmentation: Augmentation,
    *,
    batch_size: int,
    class_weights: NDArray[np.float32],
    seed: int,
    label_size: tuple[int, int] | None = None,
    start_epoch: int = 0,
    num_threads: int = 2,
) -> tuple[Any, int]:
    """Endless shuffled, augmented batches.

    Example ``i`` of epoch ``e`` depends on ``seed``, ``e`` and ``i`` only, never on the threads: a run resumed at
    ``start_epoch`` sees what the uninterrupted run would have seen.

    Args:
        data: the training split.
        spec: normalisation and colour order.
        augmentation: what is done to each pair.
        batch_size: pictures in a step; the last, smaller batch of an epoch is dropped.
        class_weights: ``(C,)`` float32.
        seed: of the order and of the augmentation.
        label_size: ``(H, W)`` of the model's output where it is smaller than its input, as SegNet's is.
        start_epoch: epochs that are done already.
        num_threads: threads that read and augment.

    Returns:
        A Grain dataset of ``(images, labels, weights)`` - ``(B, H, W, 3)`` float32 normalised, ``(B, h, w)`` uint8 with
        ``IGNORED``, ``(B, h, w)`` float32 with 0 where ignored - and the number of steps in an epoch.
    """
    if len(data) < batch_size:
        raise InputError(f"the training split has {len(data)} pictures, fewer than the batch size {batch_size}.")
    steps = len(data) // batch_size
    label_table = _label_table(data.classes.ignore_index)
    weight_table = np.zeros(256, np.float32)
    weight_table[: len(class_weights)] = class_weights

    def example(index: int, rng: np.random.Generator) -> Example:
        image, label = data[index]
        image, ids = augmentation(image, label_table[label], rng)
        ids = _resize_label(ids, label_size or ids.shape)
        return normalize(image, spec), ids, weight_table[ids]

    dataset = (
        grain.MapDataset.range(len(data))
        .seed(seed)
        .shuffle()
        # A whole number of batches from each epoch, so that an epoch is the same pictures wherever a run is resumed.
        .slice(slice(0, steps * batch_size))
        .repeat()
        .random_map(example)
        # Without drop_remainder Grain rounds the length of an endless data set up, which overflows for batches of 1.
        .batch(batch_size, drop_remainder=True)
    )
    dataset = dataset[start_epoch * steps :] if start_epoch else dataset
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4 * batch_size)
    return dataset.to_iter_dataset(options), steps


def validation_batches(
    data: LabelledSplit, spec: ModelSpec, batch_size: int, *, label_size: tuple[int, int] | None = None
) -> Any:
    """Every picture once, letterboxed to the model's input size, as ``(images, labels)`` batches.

    Args:
        data: the validation split.
        spec: input size, fit and normalisation.
        batch_size: pictures in a step.
        label_size: ``(H, W)`` of the model's output where it is smaller than its input.

    Returns:
        A Grain dataset of ``(B, H, W, 3)`` float32 and ``(B, h, w)`` uint8 with ``IGNORED``, bars included.
    """
    label_table = _label_table(data.classes.ignore_index)

    def example(index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        image, label = data[index]
        fitted, p = letterbox(image, spec)
        ids = np.full(spec.input_size, IGNORED, np.uint8)
        ids[p.top : p.top + p.height, p.left : p.left + p.width] = _resize_label(
            label_table[label], (p.height, p.width)
        )
        return normalize(fitted, spec), _resize_label(ids, label_size or spec.input_size)

    dataset = grain.MapDataset.range(len(data)).map(example).batch(batch_size)
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2 * batch_size))


def sqrt_median_frequency(data: LabelledSplit) -> NDArray[np.float32]:
    """Class weights ``sqrt(median(f) / f)`` where ``f`` is the share of pixels among the pictures with the class.

    The square root of the median-frequency balancing of Eigen and Fergus 2015: the full form gives a class that
    is seen in a pixel out of a thousand a weight that drowns the others.

    Args:
        data: the training split.

    Returns:
        ``(C,)`` float32; 1 for a class that never occurs.
    """
    num_classes = len(data.classes.names)
    label_table = _label_table(data.classes.ignore_index)
    pixels, seen_in = np.zeros(num_classes), np.zeros(num_classes)
    for index in range(len(data)):
        _, label = data[index]
        counts = np.bincount(label_table[label].ravel(), minlength=256)[:num_classes]
        pixels += counts
        seen_in += (counts > 0) * label.size
    frequency = np.divide(pixels, seen_in, out=np.zeros(num_classes), where=seen_in > 0)
    occurs = frequency > 0
    weights = np.ones(num_classes, np.float32)
    if occurs.any():
        weights[occurs] = np.sqrt(np.median(frequency[occurs]) / frequency[occurs])
    return weights


def _resize_label(ids: NDArray[np.uint8], size_hw: tuple[int, ...]) -> NDArray[np.uint8]:
    """Nearest neighbour, so that no id is made up."""
    if ids.shape == size_hw:
        return ids
    height, width = size_hw
    return cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[return-value]


def _label_table(ignore_index: int | None) -> NDArray[np.uint8]:
    """Look-up from the data set's ids to the pipeline's, where only the ignored id differs."""
    table = np.arange(256, dtype=np.uint8)
    if ignore_index is not None:
        table[ignore_index] = IGNORED
    return table
