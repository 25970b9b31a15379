"""Where the batches of a run come from: a labelled data set, or whatever the caller brings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import keras

from edgeseg.datasets import LabelledSplit
from edgeseg.models.functional import graph_of
from edgeseg.training.augment import Augmentation
from edgeseg.training.building import RunModels
from edgeseg.training.cache import CachedPairs
from edgeseg.training.config import TrainConfig
from edgeseg.training.data import training_pipeline, validation_batches
from edgeseg.training.distribution import Distribution
from edgeseg.training.samples import sample_indices

#: Memory for decoded validation pictures, which every epoch goes through.
_VALIDATION_CACHE = 1 << 29


class Feed(Protocol):
    """Batches ``(inputs, labels)``, several of either as a tuple or a dict, as the model has them.

    Labels are ``(B, h, w)`` class ids of the size of the output, 255 where a pixel does not count.
    """

    def training(self, batch_size: int, start_epoch: int) -> tuple[Iterable[Any], int]:
        """Endless batches from an epoch on, and the steps in an epoch; the same ones for the same epoch.

        Anything that Keras' ``fit`` takes: a Grain or ``tf.data`` data set, or a generator. Where several workers
        share a batch, each is given its own part of it, ``batch_size`` over their number.
        """

    def validation(self) -> Iterable[Any]:
        """Every example once, with labels for the main output alone, at the exported model's size."""

    def statistics(self, count: int) -> Iterable[Any]:
        """Inputs alone, about ``count`` training examples as the exported model will get them."""


class SplitFeed:
    """The ``train`` and ``val`` splits of a labelled data set.

    Args:
        config: of the run.
        models: of the run, for the sizes.
        train: what to learn from.
        val: what to validate with.
        distribution: which part of a batch is this process's.
    """

    def __init__(
        self,
        config: TrainConfig,
        models: RunModels,
        train: LabelledSplit,
        val: LabelledSplit,
        distribution: Distribution,
    ) -> None:
        self._config, self._models, self._train, self._distribution = config, models, train, distribution
        self._val = CachedPairs(val, _VALIDATION_CACHE)
        size = models.learning.inputs[0].shape[1:3]
        settings = {"pad_value": models.spec.pad_value, **config.augmentation_changes}
        self._augmentation = Augmentation.preset(config.augmentation, tuple(size), **settings)

    def training(self, batch_size: int, start_epoch: int) -> tuple[Any, int]:
        """Shuffled and augmented, from an epoch on."""
        outputs = graph_of(self._models.learning)._outputs_struct
        return training_pipeline(
            self._train,
            self._models.spec,
            self._augmentation,
            batch_size=batch_size,
            seed=self._config.seed,
            label_sizes=keras.tree.map_structure(_size, outputs),
            start_epoch=start_epoch,
            worker=self._distribution.worker,
            num_workers=self._distribution.num_workers,
        )

    def validation(self) -> Any:
        """Letterboxed to the exported model's input size."""
        exported = self._models.exported
        size = _size(exported.outputs[0])
        return validation_batches(self._val, self._models.spec, self._config.batch_size, label_sizes=size)

    def statistics(self, count: int) -> Iterator[Any]:
        """Training pictures, letterboxed and not augmented, spread over the split; whole batches."""
        whole = max(1, count // self._config.batch_size) * self._config.batch_size
        pairs = tuple(self._train.pairs[index] for index in sample_indices(len(self._train), whole))
        part = dataclasses.replace(self._train, pairs=pairs)
        for images, _ in validation_batches(part, self._models.spec, self._config.batch_size):
            yield images


def _size(tensor: Any) -> tuple[int, int]:
    """``(H, W)`` of a map."""
    return tensor.shape[1], tensor.shape[2]
