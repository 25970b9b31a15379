"""Provide the batches of a run: from a labeled data set, or from the caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.spread import spread
from edgeseg.datasets import BadExample, Classes, LabeledSplit
from edgeseg.datasets.statistics import ImageSizes
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models.keras_graph import graph_of, output_names
from edgeseg.models.keras_internals import outputs_structure
from edgeseg.training.building import RunModels
from edgeseg.training.config import TrainConfig
from edgeseg.training.data.augment import Augmentation
from edgeseg.training.data.cache import CachedPairs, Pair, Pairs
from edgeseg.training.data.pipeline import BatchOrder, own_labels, training_pipeline, validation_batches
from edgeseg.training.distribution import Distribution
from edgeseg.training.objective.phases import phases_of
from edgeseg.training.objective.pixels import num_classes_of

#: Memory for decoded images, which every epoch of every phase reads.
_TRAINING_CACHE, _VALIDATION_CACHE = 1 << 30, 1 << 29


class Feed(Protocol):
    """Batches ``(inputs, labels)``, several of either as a tuple or a dict, as the model has them.

    Labels are ``(B, h, w)`` class ids of the size of the output, 255 where a pixel does not count.
    """

    def training(self, batch_size: int, start_epoch: int) -> tuple[Iterable[Any], int]:
        """Return endless batches from an epoch on, and the steps in an epoch; the same ones for the same epoch.

        The batches are anything that Keras' ``fit`` accepts: a Grain or ``tf.data`` data set, or a generator. Where
        several workers share a batch, each is given its own part of it, ``batch_size`` divided by their number.
        """

    def validation(self) -> Iterable[Any]:
        """Return every example once, with labels for the main output only, at the exported model's size.

        It is not called in a run without validation.
        """

    def statistics(self, count: int) -> Iterable[Any]:
        """Return only inputs, about ``count`` training examples as the exported model will get them."""


class SplitFeed:
    """The ``train`` and ``val`` splits of a labeled data set.

    Args:
        config: of the run.
        models: of the run, for the sizes.
        train: the split to learn from.
        val: the split to validate on; ``None`` where no epoch is validated.
        distribution: determines which part of a batch is this process's.

    Raises:
        InputError: the model takes something other than one image, or a phase's batch is larger than the split.
        UnsupportedModel: an output is no map of the data's classes.
    """

    def __init__(
        self,
        config: TrainConfig,
        models: RunModels,
        train: LabeledSplit,
        val: LabeledSplit | None,
        distribution: Distribution,
    ) -> None:
        _require_image_to_maps(config.model, models)
        self._config, self._models, self._train, self._distribution = config, models, train, distribution
        for phase in phases_of(config):
            self._order(phase.batch_size, phase.start).check(len(train))
        self._bad_files = _BadFiles()
        self._cached = CachedPairs(_Watched(train, self._bad_files), _TRAINING_CACHE)
        self._val = None if val is None else CachedPairs(_Watched(val, self._bad_files), _VALIDATION_CACHE)
        size = models.learning.inputs[0].shape[1:3]
        # A model's own bilinear skips pixels where images shrink; the default of the augmentation does not.
        resize = config.resize or (None if models.spec.resize == "bilinear" else models.spec.resize)
        settings = {"pad_value": models.spec.pad_value, "resize": resize, **config.augmentation_changes}
        self._augmentation = Augmentation.preset(config.augmentation, tuple(size), **settings)

    def reading(self) -> AbstractContextManager[Any]:
        """Return a context: an error in it that began with a bad file is the ``BadExample``, not the backend's."""
        return self._bad_files

    def training(self, batch_size: int, start_epoch: int) -> tuple[Any, int]:
        """Return shuffled and augmented batches, from an epoch on."""
        outputs = outputs_structure(graph_of(self._models.learning))
        return training_pipeline(
            self._cached,
            self._models.spec,
            self._augmentation,
            self._order(batch_size, start_epoch),
            label_sizes=keras.tree.map_structure(_size, outputs),
        )

    def validation(self) -> Any:
        """Return every image once, letterboxed to the exported model's input size; of a run that is validated."""
        assert self._val is not None
        exported = self._models.exported
        size = _size(exported.outputs[0])
        return validation_batches(self._val, self._models.spec, self._config.batch_size, label_sizes=size)

    def validation_labels(self) -> Iterator[NDArray[np.uint8]]:
        """Return the label of each validation image at its own size, ``(h, w)`` class ids, 255 where none counts."""
        assert self._val is not None
        return own_labels(self._val)

    def image_sizes(self, count: int) -> ImageSizes:
        """Return the sizes of training images, spread over the split; they are kept for the first epoch."""
        indices = spread(range(len(self._train)), count)
        return ImageSizes.of(self._cached[index][1].shape for index in indices)

    def statistics(self, count: int) -> Iterator[Any]:
        """Return training images, letterboxed and not augmented, spread over the split; whole batches."""
        batches = min(count, len(self._train)) // self._config.batch_size
        whole = max(1, batches) * self._config.batch_size
        indices = spread(range(len(self._train)), whole)
        spec, batch_size = self._models.spec, self._config.batch_size
        for images, _ in validation_batches(self._cached, spec, batch_size, indices=indices):
            yield images

    def _order(self, batch_size: int, start_epoch: int) -> BatchOrder:
        return BatchOrder(
            batch_size=batch_size,
            seed=self._config.seed,
            repeat=self._config.repeat,
            start_epoch=start_epoch,
            worker=self._distribution.worker,
            num_workers=self._distribution.num_workers,
        )


class _BadFiles(AbstractContextManager[None]):
    """The first bad file: in the reading threads of a backend's pipeline its exception becomes another one."""

    first: BadExample | None = None

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Return a context that remembers the first bad file that is read in it."""
        try:
            yield
        except BadExample as error:
            self.first = self.first or error
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.first is not None:
            raise self.first from None


class _Watched:
    """Pairs whose bad files are remembered."""

    def __init__(self, data: Pairs, bad_files: _BadFiles) -> None:
        self._data, self._bad_files = data, bad_files

    @property
    def classes(self) -> Classes:
        return self._data.classes

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Pair:
        with self._bad_files.remembering():
            return self._data[index]

    def read_label(self, index: int) -> NDArray[np.uint8]:
        with self._bad_files.remembering():
            return self._data.read_label(index)


def _require_image_to_maps(name: str, models: RunModels) -> None:
    """Refuse models that this feed has no batches for."""
    inputs = [tuple(tensor.shape) for tensor in models.learning.inputs]
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][-1] != 3:
        shapes = ", ".join(map(str, inputs))
        raise InputError(f"'{name}' must take one image (B, H, W, 3), it takes {shapes}; in Python give feed=.")
    num_classes = models.spec.num_classes
    for output, tensor in zip(output_names(models.learning), models.learning.outputs, strict=True):
        shape = tuple(tensor.shape)
        if len(shape) != 4 or None in shape[1:] or num_classes_of(shape[-1]) != num_classes:
            accepted = f"(B, H, W, {num_classes})" + (" or (B, H, W, 1)" if num_classes == 2 else "")
            raise UnsupportedModel(
                f"the output '{output}' of '{name}' is {shape}; every output that is trained must be a map "
                f"{accepted} of the data's classes; in Python give feed= and loss=."
            )


def _size(tensor: Any) -> tuple[int, int]:
    """Return ``(H, W)`` of a map."""
    return tensor.shape[1], tensor.shape[2]
