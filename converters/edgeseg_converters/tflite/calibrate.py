"""Measure the ranges of a TFLite model's tensors on the calibration images, by the quantizer's own calibrator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.quantizer_internals import no_progress_bars, open_calibrator, recipe_for_ranges


def measure(data: bytes, images: CalibrationSet, spec: ModelSpec, *, num_threads: int = 2) -> Ranges:
    """Run a float model on the images and note the range of every tensor in each.

    Args:
        data: a float32 ``.tflite`` file whose input takes values 0 to 255.
        images: to run it on.
        spec: how to feed it.
        num_threads: for the runtime; XNNPACK is used, so the unpooling custom ops run too.

    Raises:
        InputError: an image does not decode.
    """
    recipe = recipe_for_ranges()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # keeping all tensors is for debugging: intended here
        calibrator = open_calibrator(_with_all_read(data), num_threads, _appended)
    with no_progress_bars():
        for tensor in images.tensors(spec):
            calibrator.calibrate({None: [{INPUT_NAME: tensor}]}, recipe)
    # Masks are no values and have no range.
    seen = {
        name: ranges
        for name, ranges in calibrator.get_model_qsvs().items()
        if ranges and np.issubdtype(np.asarray(ranges["min"]).dtype, np.floating)
    }
    low, high = ({name: np.ravel(ranges[side]) for name, ranges in seen.items()} for side in ("min", "max"))
    return Ranges(low, high)


def values(
    data: bytes, names: Sequence[str], images: CalibrationSet, spec: ModelSpec, *, num_threads: int = 2
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run a float model on the images and yield the values of tensors in each.

    Args:
        data: see ``measure``.
        names: of the tensors.
        images: see ``measure``.
        spec: see ``measure``.
        num_threads: see ``measure``.
    """
    graph = TfliteGraph.read(data)
    places = {graph.tensor_name(index): index for index in range(len(graph.tensors))}
    # The file's own output is kept: XNNPACK crashes on an unpooling that nobody reads.
    read = graph.with_outputs([*graph.outputs, *(places[name] for name in names)]).write()
    interpreter = Interpreter(model_content=read, num_threads=num_threads)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()[len(graph.outputs) :]
    for tensor in images.tensors(spec):
        interpreter.set_tensor(image["index"], tensor)
        interpreter.invoke()
        yield {name: interpreter.get_tensor(out["index"]) for name, out in zip(names, outputs, strict=True)}


def _with_all_read(data: bytes) -> bytes:
    """Return the same model with every unread tensor as an output: the tool looks at every tensor."""
    graph = TfliteGraph.read(data)
    unread = graph.unread()
    return graph.with_outputs([*graph.outputs, *unread]).write() if unread else data


def _appended(so_far: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Append the ranges of an image to those before it, where the tool would keep a running mean."""
    return {side: np.append(so_far[side], new[side]) for side in ("min", "max")}
