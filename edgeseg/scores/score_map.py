"""Define ``ScoreMap``: the scores of an image, kept at the model's size and enlarged when they are asked for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.imaging import Placement, at_size
from edgeseg.spec import ModelSpec

#: Channels that OpenCV scales at once; OpenCV 5 takes an array with more than 128 as one of three axes.
_MOST_CHANNELS = 64


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """The scores of one image.

    They stay at the model's size, as those of 11 classes in Full HD have 91 MB.

    Attributes:
        values: ``(h, w, C)`` float32, of the part of the model's output that the image covers.
        kind: ``softmax`` for probabilities, ``logits`` for what a softmax is taken of.
        size_hw: ``(H, W)`` of the image, in pixels.
    """

    __repr__ = short_repr

    values: NDArray[np.float32]
    kind: Literal["softmax", "logits"]
    size_hw: tuple[int, int]

    @classmethod
    def of(cls, values: NDArray[np.float32], spec: ModelSpec, placement: Placement) -> ScoreMap:
        """Cut the letterbox bars off the scores of a model.

        A map that is smaller than the model's input is enlarged to it first where there are bars, as these may end
        inside a pixel of the map.

        Args:
            values: ``(h, w, C)`` float32.
            spec: gives the input's size, and what the scores are.
            placement: of the image in the input.
        """
        if spec.output_kind == "argmax":
            raise ValueError("class ids are no scores")
        p = placement
        if (p.height, p.width) != spec.input_size:
            values = _resized(values, spec.input_size)[p.top : p.top + p.height, p.left : p.left + p.width]
        return cls(values, spec.output_kind, p.original_hw)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return int(self.values.shape[2])

    def enlarged(self) -> NDArray[np.float32]:
        """Return the scores at the image's own size, ``(H, W, C)`` float32, interpolated bilinearly."""
        return _resized(self.values, self.size_hw)

    def class_map(self) -> NDArray[np.uint8]:
        """Return the best class of each pixel of ``enlarged``, ``(H, W)`` uint8; of equal ones the first.

        Two classes are told apart by the sign of their difference. Of more, one after the other is enlarged and
        compared with the best so far, which takes the memory of two.
        """
        if self.num_classes == 2:
            return (self._difference() > 0).view(np.uint8)
        best = _resized(self._channel(0), self.size_hw)
        classes = np.zeros(self.size_hw, np.uint8)
        for index in range(1, self.num_classes):
            scores = _resized(self._channel(index), self.size_hw)
            # The ids grow, so the largest of those that were better than all before is the best.
            np.maximum(classes, (scores > best).view(np.uint8) * np.uint8(index), out=classes)
            np.maximum(scores, best, out=best)
        return classes

    def nearest_class_map(self) -> NDArray[np.uint8]:
        """Return the best class of each pixel of ``values``, enlarged to ``(H, W)`` uint8 by nearest neighbor.

        It is what a file of class ids gives of the same model.
        """
        return at_size(self.values.argmax(-1).astype(np.uint8), self.size_hw)

    def share(self, ids: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return how probable it is that a pixel is of one of some classes.

        Args:
            ids: bool by class id, at least one for each class.

        Returns:
            ``(h, w)`` float32 in [0, 1], at the size of ``values``.
        """
        # Channel by channel: numpy's sums along a short last axis take ten times as long.
        channels = [self._channel(index) for index in range(self.num_classes)]
        if self.kind == "logits":
            highest = functools.reduce(np.maximum, channels)
            channels = [channel - highest for channel in channels]
            for channel in channels:
                np.exp(channel, out=channel)
        share = np.zeros(self.values.shape[:2], np.float32)
        for index in np.flatnonzero(ids[: self.num_classes]):
            share += channels[index]
        if self.kind == "logits":
            share /= functools.reduce(np.add, channels)
        # Probabilities of 8 bits may sum to a step more than 1.
        return np.clip(share, 0, 1, out=share)

    def _channel(self, index: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.values[..., index])

    def _difference(self) -> NDArray[np.float32]:
        """Return the scores of the second class less those of the first, enlarged."""
        return _resized(self._channel(1) - self._channel(0), self.size_hw)


def _resized(values: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Scale ``(h, w)`` or ``(h, w, C)`` bilinearly; the array itself where it has that size."""
    if values.shape[:2] == size_hw:
        return values
    if values.ndim == 2:
        return cv2.resize(values, size_hw[::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
    enlarged = np.empty((*size_hw, values.shape[2]), np.float32)
    for first in range(0, values.shape[2], _MOST_CHANNELS):
        some = np.ascontiguousarray(values[..., first : first + _MOST_CHANNELS])
        scaled = cv2.resize(some, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        enlarged[..., first : first + _MOST_CHANNELS] = scaled.reshape(*size_hw, -1)
    return enlarged
