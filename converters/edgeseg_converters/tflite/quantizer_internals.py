"""Reach litert-quantizer, and what it does not promise to keep: the one door to it.

Every name was seen in litert-quantizer 0.11.0. ``Quantizer`` and ``recipe`` are documented. Each of the others has a
test of its own in ``tests/converters/tflite/test_quantizer_internals.py``, which says where to look for the replacement
when the name is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from litert_quantizer import Quantizer, recipe
from litert_quantizer.algorithm_manager import AlgorithmName
from litert_quantizer.calibrator import Calibrator
from litert_quantizer.qtyping import TFLOperationName
from litert_quantizer.recipe_manager import RecipeManager
from litert_quantizer.utils import progress_utils

__all__ = ["AlgorithmName", "Quantizer", "TFLOperationName", "no_progress_bars", "open_calibrator", "recipe_for_ranges"]

# ``Quantizer``'s methods take these two, but its documentation only has ready recipes and JSON: ``TFLOperationName``
# names ops by kind, ``AlgorithmName`` has the one that keeps an op in float.

_ProgressBar = progress_utils.ProgressBar


def open_calibrator(
    data: bytes, num_threads: int, merge: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
) -> Calibrator:
    """Return a calibrator, which runs a float model and notes the range of every tensor.

    ``calibrator.Calibrator``, seen in litert-quantizer 0.11.0. ``Quantizer.calibrate``, the documented way, keeps a
    moving average of the ranges of all samples; here the range of each image is needed.

    Args:
        data: a ``.tflite`` file in which every tensor is read.
        num_threads: for the runtime.
        merge: combines the ranges of a tensor so far and those of one more sample, ``min`` and ``max``.

    Returns:
        A calibrator: ``calibrate`` runs it on samples by signature, ``get_model_qsvs`` gives the ranges by tensor.
    """
    return Calibrator(data, num_threads, qsv_update_func=merge)


def recipe_for_ranges() -> RecipeManager:
    """Return the recipe by which a calibrator notes the range of every tensor: that of int8.

    ``recipe_manager.RecipeManager``, seen in litert-quantizer 0.11.0, "internal to Quantizer" by its own words; the
    calibrator takes nothing else.
    """
    manager = RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    return manager


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide the tool's progress bars.

    ``utils.progress_utils.ProgressBar``, seen in litert-quantizer 0.11.0, whose ``enable_progress_bar`` reaches one of
    three. Their stream is not replaced instead, as every thread would lose it. With two threads in the block, the bars
    of the last one may show.
    """
    progress_utils.ProgressBar = _hidden
    try:
        yield
    finally:
        progress_utils.ProgressBar = _ProgressBar


def _hidden(*args: Any, **options: Any) -> Any:
    return _ProgressBar(*args, **{**options, "enable": False})
