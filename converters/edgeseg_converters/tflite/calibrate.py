"""The ranges of a TFLite model's tensors on the calibration images, measured by the quantizer's own calibrator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_quantizer import recipe as aeq_recipe
from ai_edge_quantizer import recipe_manager
from ai_edge_quantizer.calibrator import Calibrator

from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.tflite import flatbuffer
from edgeseg_converters.tflite.quantizer_internals import no_progress_bars


def measure(data: bytes, images: CalibrationSet, spec: ModelSpec, *, num_threads: int = 2) -> Ranges:
    """Run a float model on the images and note the range of every tensor in each.

    Args:
        data: a float32 ``.tflite`` file whose input takes values 0 to 255.
        images: what to run it on.
        spec: how to feed it.
        num_threads: for the runtime; XNNPACK is used, so the unpooling custom ops run too.

    Raises:
        InputError: an image does not decode.
    """
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(aeq_recipe.static_wi8_ai8())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that keeping all tensors is for debugging: it is what we want
        calibrator = Calibrator(_with_all_read(data), num_threads, qsv_update_func=_appended)
    with no_progress_bars():
        for tensor in images.tensors(spec):
            calibrator.calibrate({None: [{INPUT_NAME: tensor}]}, manager)
    # Masks, which are no values, have no range.
    seen = {
        name: found
        for name, found in calibrator.get_model_qsvs().items()
        if found and np.issubdtype(np.asarray(found["min"]).dtype, np.floating)
    }
    low, high = ({name: np.ravel(found[side]) for name, found in seen.items()} for side in ("min", "max"))
    return Ranges(low, high)


def _with_all_read(data: bytes) -> bytes:
    """The same model with an output for what nobody reads: the tool wants to look at every tensor."""
    model = flatbuffer.read(data)
    graph = model.subgraphs[0]
    alone = flatbuffer.unread(graph)
    if not alone:
        return data
    graph.outputs = [*map(int, graph.outputs), *alone]
    return flatbuffer.write(model)


def _appended(so_far: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the ranges of all images in the place where the tool keeps a running mean."""
    return {side: np.append(so_far[side], new[side]) for side in ("min", "max")}
