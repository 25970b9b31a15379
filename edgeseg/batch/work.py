"""Define what is done with an image of many: ``Prediction`` draws and counts, ``Evaluation`` scores.

Each travels to the processes that do it, and opens the model there, once. An image that is broken becomes a record that
says why; what would stop all that follow, such as a full disk, is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import scratch_folder, write_bytes
from edgeseg.batch.record import Item, Record, cells, stem_of
from edgeseg.batch.storage import Place, is_stored, read_stored, write_stored
from edgeseg.choices import LabelEncoding, SavedView
from edgeseg.datasets import Classes
from edgeseg.datasets.labels import read_ids
from edgeseg.errors import EdgesegError, InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.evaluation.evaluate import require_classes
from edgeseg.imaging import decode_image, encode_image, read_image
from edgeseg.segmentation import Segmentation
from edgeseg.segmenter import Segmenter

#: Opens the model in the process that runs it; a function that can be pickled.
Opener = Callable[[], Segmenter]

#: Segments an image, ``(h, w, 3)`` uint8 RGB, as a whole or by windows; a function that can be pickled.
Segment = Callable[[Segmenter, NDArray[np.uint8]], Segmentation]


def segment_whole(segmenter: Segmenter, image_rgb: NDArray[np.uint8]) -> Segmentation:
    """Segment an image at once."""
    return segmenter(image_rgb)


#: Draws a view of an image, ``(h, w, 3)`` uint8 RGB; a function that can be pickled.
Draw = Callable[[SavedView, NDArray[np.uint8], Segmentation], NDArray[np.uint8]]

#: Does one image.
Worker = Callable[[Item], Record]


class Work(Protocol):
    """What is done with each image; pickled."""

    def open(self) -> AbstractContextManager[tuple[Worker, tuple[str, ...]]]:
        """Open the model; yield what does an image, and the names of the classes that its records count.

        Raises:
            EdgesegError: the model does not open, or does not go with what is asked.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Count the pixels of each class, and draw.

    Attributes:
        opener: opens the model.
        segment: segments an image.
        folder: where drawings go, as ``NAME.VIEW.png``, here or in a store; ``None`` to draw nothing.
        views: what is drawn.
        draw: draws it.
    """

    __repr__ = short_repr

    opener: Opener
    segment: Segment = segment_whole
    folder: Place | None = None
    views: Sequence[SavedView] = ()
    draw: Draw | None = None

    @contextmanager
    def open(self) -> Iterator[tuple[Worker, tuple[str, ...]]]:
        """Open the model."""
        with self.opener() as segmenter:
            yield lambda item: self._predict(item, segmenter), segmenter.spec.class_names

    def _predict(self, item: Item, segmenter: Segmenter) -> Record:
        try:
            image_rgb = _read(item.image)
            segmentation = self.segment(segmenter, image_rgb)
            drawings = [] if self.folder is None else list(self._drawings(image_rgb, segmentation))
        except _ONE_IMAGE as error:
            return failed(item, error)
        for view, data in drawings:
            self._save(f"{stem_of(item.name)}.{view}.png", data)
        return Record(name=item.name, size_hw=_size(image_rgb), counts=tuple(segmentation.counts().values()))

    def _save(self, name: str, data: bytes) -> None:
        assert self.folder is not None
        # What a killed run drew of an image that is not in the manifest is drawn again.
        if isinstance(self.folder, Path):
            write_bytes(self.folder / name, data, overwrite=True)
        else:
            write_stored(f"{self.folder}/{name}", data)

    def _drawings(self, image_rgb: NDArray[np.uint8], segmentation: Segmentation) -> Iterator[tuple[str, bytes]]:
        for view in self.views:
            assert self.draw is not None
            yield view, encode_image(self.draw(view, image_rgb, segmentation))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Compare with labels.

    Attributes:
        opener: opens the model.
        classes: of the data.
        label_encoding: how the labels encode them.
        segment: segments an image.
    """

    __repr__ = short_repr

    opener: Opener
    classes: Classes
    label_encoding: LabelEncoding
    segment: Segment = segment_whole

    @contextmanager
    def open(self) -> Iterator[tuple[Worker, tuple[str, ...]]]:
        """Open the model."""
        with self.opener() as segmenter, scratch_folder() as scratch:
            require_classes(segmenter.spec, self.classes)
            yield lambda item: self._evaluate(item, segmenter, scratch), self.classes.names

    def _evaluate(self, item: Item, segmenter: Segmenter, scratch: Path) -> Record:
        size = len(self.classes.names), self.classes.ignore_index
        matrix, nearest = ConfusionMatrix(*size), None
        try:
            image_rgb = _read(item.image)
            label = self._label(item.label or "", scratch)
            if image_rgb.shape[:2] != label.shape:
                raise InputError(f"'{item.image}' is {_size(image_rgb)} but its label '{item.label}' is {label.shape}.")
            segmentation = self.segment(segmenter, image_rgb)
            matrix.update(label, segmentation.class_map)
            if segmentation.score_map is not None:  # enlarged, and not of windows
                nearest = ConfusionMatrix(*size)
                nearest.update(label, segmentation.score_map.nearest_class_map())
        except _ONE_IMAGE as error:
            return failed(item, error)
        return Record(
            name=item.name,
            size_hw=_size(image_rgb),
            counts=tuple(segmentation.counts().values()),
            matrix=cells(matrix.counts),
            nearest=None if nearest is None else cells(nearest.counts),
        )

    def _label(self, place: str, scratch: Path) -> NDArray[np.uint8]:
        """Read a label; what reads labels looks into their files, so that one of a store becomes a file."""
        if not is_stored(place):
            return read_ids(Path(place), self.classes, self.label_encoding)
        path = scratch / PurePosixPath(place).name
        path.write_bytes(read_stored(place))
        try:
            return read_ids(path, self.classes, self.label_encoding)
        finally:
            path.unlink()


def failed(item: Item, error: object) -> Record:
    """Return the record of an image that could not be done."""
    return Record(name=item.name, error=" ".join(str(error).split())[:1000] or type(error).__name__)


# What is wrong with one image and not with the next; OpenCV's is of an image that the decoder or a resize refuses.
_ONE_IMAGE = (EdgesegError, OSError, cv2.error, MemoryError)


def _read(place: str) -> NDArray[np.uint8]:
    if is_stored(place):
        return decode_image(place, np.frombuffer(read_stored(place), np.uint8))
    return read_image(place)


def _size(image_rgb: NDArray[np.uint8]) -> tuple[int, int]:
    return image_rgb.shape[0], image_rgb.shape[1]
