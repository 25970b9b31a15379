from __future__ import annotations

import gc
import weakref

from edgeseg_converters.onnx.memory import new_objects_collected


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_cycles_of_a_block_are_freed_at_its_end() -> None:
    @new_objects_collected()
    def leave() -> weakref.ref[_Cycle]:
        return weakref.ref(_Cycle())

    assert leave()() is None
    assert gc.get_freeze_count() == 0


def test_what_was_frozen_before_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with new_objects_collected():
            pass
        assert gc.get_freeze_count() >= frozen > 0
    finally:
        gc.unfreeze()
