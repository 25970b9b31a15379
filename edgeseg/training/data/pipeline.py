"""Build input pipelines: deterministic by seed, parallel, and positioned at any epoch for a resumed run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import grain
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import counted
from edgeseg.errors import InputError
from edgeseg.imaging import at_size, letterbox, normalize
from edgeseg.spec import ModelSpec
from edgeseg.training.data.augment import IGNORED
from edgeseg.training.data.cache import Pairs

Size = tuple[int, int]
#: ``(H, W)`` of a model's output; or of each of its outputs, in their order or by their names.
LabelSizes = Size | Sequence[Size] | Mapping[str, Size]
#: One array; or one for each output, as a tuple or by name.
Labels = NDArray[np.uint8] | tuple[NDArray[np.uint8], ...] | dict[str, NDArray[np.uint8]]
#: Changes an image and its ids, with draws from a generator: an ``Augmentation``, or what is made of one.
Augment = Callable[
    [NDArray[np.uint8], NDArray[np.uint8], np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.uint8]]
]


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchOrder:
    """The assignment of images to the batches of a run.

    Attributes:
        batch_size: images in a step; the last, smaller batch of an epoch is dropped.
        seed: of the order and of the augmentation.
        repeat: number of times that each image is used in an epoch.
        weights: how often each image is drawn, summing to 1; each place of an epoch draws one by itself. Every image is
            used once, or ``repeat`` times, when ``None``.
        start_epoch: epochs that are already done.
        worker: number of this process among those that share each batch.
        num_workers: number of these processes; ``batch_size`` is a multiple of it. Their shares, one after the other,
            are the batches of one process.
    """

    batch_size: int
    seed: int
    repeat: int = 1
    weights: NDArray[np.float64] | None = None
    start_epoch: int = 0
    worker: int = 0
    num_workers: int = 1

    def check(self, num_images: int) -> None:
        """Refuse a split with fewer images in an epoch than a batch needs.

        Raises:
            InputError: the split is too small; the text says what is accepted.
        """
        if num_images * self.repeat < self.batch_size:
            images = counted(num_images, "image")
            needed = math.ceil(self.batch_size / max(num_images, 1))
            raise InputError(
                f"the training split has {images}, fewer than the batch size {self.batch_size}; accepted: up to "
                f"{num_images * self.repeat}; `repeat={needed}` uses each more often."
            )


def training_pipeline(
    data: Pairs,
    spec: ModelSpec,
    augmentation: Augment,
    order: BatchOrder,
    *,
    label_sizes: LabelSizes | None = None,
    num_threads: int = 2,
) -> tuple[Any, int]:
    """Make endless shuffled, augmented batches.

    Example ``i`` of epoch ``e`` depends on ``order.seed``, ``e`` and ``i`` only, never on the threads or the cache: a
    run resumed at ``order.start_epoch`` sees what the uninterrupted run would have seen.

    Args:
        data: the training split; ``CachedPairs`` of it, or each epoch reads the files again.
        spec: normalization and color order.
        augmentation: the steps applied to each pair.
        order: which images are in which batch.
        label_sizes: of the model's outputs, where they do not have the input's size, such as SegNet's, or are several.
        num_threads: threads that read and augment; each has two batches ready. With 0 the caller's thread does all.

    Returns:
        A Grain dataset of ``(images, labels)`` and the number of steps in an epoch. ``images`` is ``(B, H, W, 3)``
        float32 normalized. ``labels`` is ``(B, h, w)`` uint8 with ``IGNORED``: one array, or a tuple or dict of them
        where ``label_sizes`` is a sequence or a mapping of sizes.

    Raises:
        InputError: there are fewer images than a batch has, or more than 255 classes.
    """
    order.check(len(data))
    count = len(data) * order.repeat
    steps = count // order.batch_size
    to_ids = _label_table(data)

    def example(index: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Labels]:
        chosen = index % len(data) if order.weights is None else int(rng.choice(len(data), p=order.weights))
        image, label = data[chosen]
        image, ids = augmentation(image, cast("NDArray[np.uint8]", cv2.LUT(label, to_ids)), rng)
        return image, _at_sizes(ids, label_sizes)

    dataset = (
        grain.MapDataset.range(count)
        .seed(order.seed)
        .shuffle()
        # A whole number of batches from each epoch, so that an epoch is the same images wherever a run is resumed.
        .slice(slice(0, steps * order.batch_size))
        .repeat()
        .random_map(example)
        # Without drop_remainder Grain rounds the length of an endless data set up, which overflows for batches of 1.
        .batch(order.batch_size // order.num_workers, drop_remainder=True)
        # Stacked as bytes: a quarter as much to copy.
        .map(lambda batch: (normalize(batch[0], spec), batch[1]))
    )
    if order.start_epoch or order.num_workers > 1:
        first = order.start_epoch * steps * order.num_workers + order.worker
        dataset = dataset[first :: order.num_workers]
    return dataset.to_iter_dataset(_read_ahead(num_threads)), steps


def validation_batches(
    data: Pairs,
    spec: ModelSpec,
    batch_size: int,
    *,
    label_sizes: LabelSizes | None = None,
    indices: Sequence[int] | None = None,
    num_threads: int = 2,
) -> Any:
    """Make ``(images, labels)`` batches of every image once, in order, letterboxed to the model's input size.

    Args:
        data: the validation split; ``CachedPairs`` of it where it is read more than once.
        spec: input size, fit and normalization.
        batch_size: images in a step; the last one may have fewer.
        label_sizes: of the model's outputs, as for ``training_pipeline``.
        indices: of the images, where not all are used.
        num_threads: threads that read, as for ``training_pipeline``.

    Returns:
        A Grain dataset of ``(B, H, W, 3)`` float32 and ``(B, h, w)`` uint8 with ``IGNORED``, bars included.
    """
    to_ids = _label_table(data)

    def example(index: int) -> tuple[NDArray[np.uint8], Labels]:
        image, label = data[index]
        fitted, p = letterbox(image, spec)
        ids = np.full(spec.input_size, IGNORED, np.uint8)
        shown = at_size(cast("NDArray[np.uint8]", cv2.LUT(label, to_ids)), (p.height, p.width))
        ids[p.top : p.top + p.height, p.left : p.left + p.width] = shown
        return fitted, _at_sizes(ids, label_sizes)

    dataset = (
        grain.MapDataset.source(range(len(data)) if indices is None else indices)
        .map(example)
        .batch(batch_size)
        .map(lambda batch: (normalize(batch[0], spec), batch[1]))
    )
    return dataset.to_iter_dataset(_read_ahead(num_threads))


def own_labels(data: Pairs) -> Iterator[NDArray[np.uint8]]:
    """Yield the labels of ``validation_batches`` in its order at their own size, ``(h, w)`` uint8 with ``IGNORED``."""
    to_ids = _label_table(data)
    for index in range(len(data)):
        yield cast("NDArray[np.uint8]", cv2.LUT(data.read_label(index), to_ids))


def _read_ahead(num_threads: int) -> grain.ReadOptions:
    """Return options whose buffer counts batches, each of which one thread makes."""
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(1, 2 * num_threads))


def _at_sizes(ids: NDArray[np.uint8], sizes: LabelSizes | None) -> Labels:
    """Scale by the nearest neighbor, so that no id is made up."""
    if sizes is None:
        return ids
    if isinstance(sizes, Mapping):
        return {name: at_size(ids, size) for name, size in sizes.items()}
    if isinstance(sizes[0], int):
        return at_size(ids, cast("Size", sizes))
    return tuple(at_size(ids, size) for size in cast("Sequence[Size]", sizes))


def _label_table(data: Pairs) -> NDArray[np.uint8]:
    """Return the look-up from the data set's ids to the pipeline's, where only the ignored id differs."""
    if len(data.classes.names) > IGNORED:
        raise InputError(
            f"{len(data.classes.names)} classes; training takes {IGNORED}, as id {IGNORED} is for no class."
        )
    table = np.arange(256, dtype=np.uint8)
    if data.classes.ignore_index is not None:
        table[data.classes.ignore_index] = IGNORED
    return table
