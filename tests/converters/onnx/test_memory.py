from __future__ import annotations

import gc
import weakref

import pytest

from edgeseg_converters.onnx.memory import new_objects_collected


@pytest.fixture(autouse=True)
def _nothing_frozen() -> None:
    """As in a process of a user, without what ``tests/conftest.py`` freezes."""
    gc.unfreeze()


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_cycles_of_a_block_are_freed_at_its_end() -> None:
    @new_objects_collected()
    def leave() -> weakref.ref[_Cycle]:
        return weakref.ref(_Cycle())

    assert leave()() is None
    assert gc.get_freeze_count() == 0


def test_what_was_frozen_before_stays_frozen_and_the_rest_is_freed() -> None:
    # A cycle that nobody holds tells whether it is frozen. How many objects are does not: other threads free some.
    before = weakref.ref(_Cycle())
    gc.freeze()
    try:
        with new_objects_collected():
            within = weakref.ref(_Cycle())
        assert within() is None
        assert before() is not None
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.collect()
    assert before() is None
