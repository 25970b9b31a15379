"""Keep decoded images in memory: decoding costs more than augmenting, and every epoch decodes the same images."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg.datasets import Classes

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Pairs(Protocol):
    """The input of the pipelines: a ``LabeledSplit``, or anything else with images, labels and their classes."""

    @property
    def classes(self) -> Classes:
        """Names, colors and the ignored id."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair:
        """Return ``(h, w, 3)`` uint8 RGB, and ``(h, w)`` uint8 class ids; several threads call it at once."""

    def read_label(self, index: int, /) -> NDArray[np.uint8]:
        """Return the class ids alone."""


class CachedPairs:
    """Pairs that are read once, as many of them as a limit of memory allows.

    A pair that was kept stays: every epoch wants every pair once, so replacing one by another saves nothing.

    Args:
        data: the pairs to read.
        limit_bytes: of the decoded arrays together. A pair takes 4 bytes a pixel: 300 pairs of 640x480 are 369 MB.
    """

    def __init__(self, data: Pairs, limit_bytes: int) -> None:
        self._data, self._left = data, limit_bytes
        self._kept: dict[int, Pair] = {}
        self._lock = threading.Lock()

    @property
    def classes(self) -> Classes:
        """The classes of the data."""
        return self._data.classes

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Pair:
        """Return one pair; kept arrays are shared and therefore read-only."""
        pair = self._kept.get(index)
        if pair is not None:
            return pair
        pair = self._data[index]
        size = sum(array.nbytes for array in pair)
        with self._lock:
            if size <= self._left and index not in self._kept:
                for array in pair:
                    array.flags.writeable = False
                self._kept[index] = pair
                self._left -= size
        return pair

    def read_label(self, index: int) -> NDArray[np.uint8]:
        """Return one label: that of a pair that is kept, or the file's."""
        pair = self._kept.get(index)
        return self._data.read_label(index) if pair is None else pair[1]
