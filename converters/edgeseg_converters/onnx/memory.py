"""Free graphs that are full of cycles, and the weights that they hold, when they are no longer needed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def new_objects_collected() -> Iterator[None]:
    """Free the objects of a block, and keep every collection in it from scanning the objects that existed before.

    The graphs of tf2onnx and of onnx-ir are cycles, each with the weights that it was read with, and Python looks for
    cycles less often the more objects there are. TensorFlow has a million, which take half a second to scan.
    """
    frozen_elsewhere = gc.get_freeze_count() > 0  # those objects must stay frozen
    if not frozen_elsewhere:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if not frozen_elsewhere:
            gc.unfreeze()
