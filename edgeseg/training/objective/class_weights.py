"""Compute the weights of the classes in the loss: from how often each occurs in the labels, or as given."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import counted
from edgeseg.datasets import LabeledSplit
from edgeseg.errors import InputError, did_you_mean


def median_frequency(data: LabeledSplit, *, num_threads: int | None = None) -> NDArray[np.float32]:
    """Return class weights ``median(f) / f`` where ``f`` is the share of pixels among the images that have the class.

    Median-frequency balancing: Eigen and Fergus 2015, "Predicting Depth, Surface Normals and Semantic Labels with a
    Common Multi-Scale Convolutional Architecture", section 6.3.2; SegNet trains with it.

    Args:
        data: the training split; its labels are read once.
        num_threads: threads that read; one per core when ``None``.

    Returns:
        ``(C,)`` float32 above 0; 1 for a class that never occurs, which does not enter the median.

    Raises:
        BadExample: a label does not decode, or has an id or color of no class.
    """
    frequency = _frequency(data, num_threads)
    occurs = frequency > 0
    weights = np.ones(len(frequency), np.float32)
    if occurs.any():
        weights[occurs] = np.median(frequency[occurs]) / frequency[occurs]
    return weights


def sqrt_median_frequency(data: LabeledSplit, *, num_threads: int | None = None) -> NDArray[np.float32]:
    """Return the square roots of ``median_frequency``.

    The full form gives a class with one pixel in a thousand a weight that drowns the others.

    Args:
        data: the training split; its labels are read once.
        num_threads: threads that read; one per core when ``None``.

    Returns:
        ``(C,)`` float32 above 0; 1 for a class that never occurs.

    Raises:
        BadExample: a label does not decode, or has an id or color of no class.
    """
    return np.sqrt(median_frequency(data, num_threads=num_threads))


def given(weights: Mapping[str, float] | Sequence[float], class_names: Sequence[str]) -> NDArray[np.float32]:
    """Return class weights that the user names.

    Args:
        weights: one number of 0 or more for each class in the order of the ids; or by name, 1 for those omitted.
        class_names: the classes in the order of the ids.

    Returns:
        ``(C,)`` float32.

    Raises:
        InputError: a name is no class, the count is another, or a number is negative or none.
    """
    if isinstance(weights, Mapping):
        for name in weights:
            if name not in class_names:
                hint = did_you_mean(name, class_names)
                raise InputError(
                    f"class weight of '{name}', which is no class.{hint} Classes: {', '.join(class_names)}."
                )
        weights = [weights.get(name, 1.0) for name in class_names]
    if len(weights) != len(class_names):
        raise InputError(
            f"{counted(len(weights), 'class weight')} for {counted(len(class_names), 'class')}; one for each, "
            f"or by name: {', '.join(class_names)}."
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise InputError(f"class weights must be numbers of 0 or more, not all 0, got {', '.join(map(str, weights))}.")
    return np.array(weights, np.float32)


def _frequency(data: LabeledSplit, num_threads: int | None) -> NDArray[np.float64]:
    """Return the share of each class among the pixels of the images that have it, ``(C,)``; 0 for a class in none."""
    num_classes = len(data.classes.names)

    def count(index: int) -> tuple[NDArray[np.int64], int]:
        label = data.read_label(index)
        counts = np.bincount(label.ravel(), minlength=256)[:num_classes]
        # An ignored id may lie below the class count; its share would move the median of all others.
        if data.classes.ignore_index is not None and data.classes.ignore_index < num_classes:
            counts[data.classes.ignore_index] = 0
        return counts, label.size

    pixels, seen_in = np.zeros(num_classes), np.zeros(num_classes)
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        for counts, size in pool.map(count, range(len(data))):
            pixels += counts
            seen_in += (counts > 0) * size
    return np.divide(pixels, seen_in, out=np.zeros(num_classes), where=seen_in > 0)
