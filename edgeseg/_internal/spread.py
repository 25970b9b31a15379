"""Choosing some of many, evenly: neighbors in a data set are often frames of one video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return ``count`` items spread evenly, the first and the last among them; all where there are fewer.

    Args:
        items: what to choose from, a list or a ``range``.
        count: how many are wanted.
    """
    chosen = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[int(index)] for index in chosen]
