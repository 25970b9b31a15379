"""Choose some of many items, evenly: neighbors in a data set are often frames of one video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return ``count`` items spread evenly, including the first and the last; all where there are fewer.

    Args:
        items: the items to choose from, a list or a ``range``.
        count: how many to return.
    """
    chosen = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[int(index)] for index in chosen]
