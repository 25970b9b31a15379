from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgeseg.datasets import Classes
from edgeseg.spec import ModelSpec
from edgeseg.training.data.augment import Augmentation
from edgeseg.training.data.cache import CachedPairs
from edgeseg.training.data.pipeline import BatchOrder, training_pipeline, validation_batches

SIDE = 20
PAIR_BYTES = SIDE * SIDE * 4


class _Counting:
    """Pairs whose pixels are their index, and how often each was read."""

    classes = Classes(names=("a", "b"), palette=((0, 0, 0),) * 2, ignore_index=None)

    def __init__(self, count: int) -> None:
        self.reads = [0] * count
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            self.reads[index] += 1
        return np.full((SIDE, SIDE, 3), index, np.uint8), np.zeros((SIDE, SIDE), np.uint8)


def test_what_fits_is_read_once_and_the_rest_each_time() -> None:
    data = _Counting(6)
    cached = CachedPairs(data, 4 * PAIR_BYTES + PAIR_BYTES // 2)
    for _ in range(3):
        for index in range(6):
            assert (cached[index][0] == index).all()
    assert data.reads == [1, 1, 1, 1, 3, 3]
    assert len(cached) == 6
    assert cached.classes is data.classes


def test_a_limit_of_0_keeps_nothing() -> None:
    data = _Counting(2)
    cached = CachedPairs(data, 0)
    assert cached[1][0].flags.writeable
    assert cached[1][0] is not cached[1][0]
    assert data.reads == [0, 3]


def test_what_is_kept_cannot_be_changed() -> None:
    cached = CachedPairs(_Counting(1), PAIR_BYTES)
    for array in cached[0]:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_threads_that_read_the_same_pair_count_it_once() -> None:
    data = _Counting(3)
    cached = CachedPairs(data, 3 * PAIR_BYTES)
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(lambda index: int(cached[index % 3][0][0, 0, 0]), range(300)))
    assert shown == [index % 3 for index in range(300)]
    reads = list(data.reads)
    for index in range(3):  # all three fitted, so none was counted twice
        assert not cached[index][0].flags.writeable
    assert data.reads == reads


def test_what_is_made_ahead_is_bounded(tiny_spec: ModelSpec) -> None:
    """Two batches a thread, and the one that is taken: else a slow model's memory fills with finished batches."""
    data = _Counting(60)
    batches, _ = training_pipeline(
        data, tiny_spec, Augmentation(size=(32, 32)), BatchOrder(batch_size=3, seed=0), num_threads=2
    )
    iterator = iter(batches)
    for taken in range(1, 4):
        next(iterator)
        time.sleep(0.05)  # more would be read here; that less is done in it does no harm
        assert sum(data.reads) <= 3 * (taken + 2 * 2)


def test_the_pipelines_read_through_it(tiny_spec: ModelSpec) -> None:
    data = _Counting(6)
    cached = CachedPairs(data, 6 * PAIR_BYTES)
    batches, steps = training_pipeline(
        cached, tiny_spec, Augmentation(size=(32, 32)), BatchOrder(batch_size=2, seed=0), num_threads=0
    )
    list(itertools.islice(batches, 4 * steps))
    assert data.reads == [1] * 6
    assert len(list(validation_batches(cached, tiny_spec, 2))) == 3
    assert data.reads == [1] * 6
