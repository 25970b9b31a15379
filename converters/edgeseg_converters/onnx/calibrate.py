"""Measure the ranges of an ONNX file's tensors on the calibration images, in the memory of one image.

ONNX Runtime's calibrators keep the tensors of every image until the last, and their option against that,
``CalibMaxIntermediateOutputs``, throws the images away unread. Here the smallest and the largest value of each tensor
are reduced inside the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.passes.shapes import InferShapes
from edgeseg_converters.onnx.passes.taps import ReturnExtremes, ReturnValues


def measure(data: bytes, images: CalibrationSet, spec: ModelSpec, *, num_threads: int = 2) -> Ranges:
    """Run a float model on the images and note the range of every tensor in each.

    Args:
        data: a float32 ``.onnx`` file whose input takes values 0 to 255.
        images: what to run it on.
        spec: how to feed it; the layout is obeyed.
        num_threads: for the runtime.

    Raises:
        InputError: an image does not decode.
    """
    model = InferShapes()(read(data)).model
    names = activations(model)
    session = _session(ReturnExtremes(names)(model).model, num_threads)
    # Each image gives one array of (2 T,), whatever its size.
    seen = [np.stack(session.run(None, feed)) for feed in _feeds(images, spec)]
    low, high = np.stack(seen, axis=-1).reshape(2, len(names), len(seen))
    ranges = Ranges(dict(zip(names, low, strict=True)), dict(zip(names, high, strict=True)))
    ranges.low[INPUT_NAME][:], ranges.high[INPUT_NAME][:] = 0, 255  # bytes, whatever the images hold
    return ranges


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
    session = _session(ReturnValues(names)(read(data)).model, num_threads)
    for feed in _feeds(images, spec):
        yield dict(zip(names, session.run(None, feed), strict=True))


def activations(model: ir.Model) -> list[str]:
    """Return the names of the float32 tensors that are no constants, in the order of the graph.

    Args:
        model: with inferred shapes.
    """
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    return [value.name for value in values if value.name and value.dtype == ir.DataType.FLOAT]


def _feeds(images: CalibrationSet, spec: ModelSpec) -> Iterator[dict[str, NDArray[np.float32]]]:
    for tensor in images.tensors(spec):
        nchw = spec.layout == "nchw"
        yield {INPUT_NAME: np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)) if nchw else tensor}


def _session(model: ir.Model, num_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = num_threads, 3
    return onnxruntime.InferenceSession(write(model), options, providers=["CPUExecutionProvider"])
