"""Frees graphs that are full of cycles, and the weights that they hold, when they are no longer needed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def new_objects_collected() -> Iterator[None]:
    """Free what a block leaves, and keep every collection in it from looking at the objects that were there before.

    The graphs of tf2onnx and of onnx-ir are cycles, each with the weights that it was read with, and Python looks for
    cycles the more seldom the more objects there are. TensorFlow has a million, which take half a second to look at.
    """
    if gc.get_freeze_count():  # whoever froze them does not want them thawed
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
