"""Measure the ranges of an ONNX file's tensors, by one of three methods, in the memory of one image.

ONNX Runtime's calibrators keep the tensors of every image until the last, and their option against that,
``CalibMaxIntermediateOutputs``, throws the images away unread. Here a first run notes the smallest and the largest
value of each tensor in each image, reduced inside the graph. ``entropy`` and ``percentile`` then cut the tails off by
histograms that a second run fills image by image: their edges are known by then, and so is their size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from edgeseg.choices import CalibrationMethod
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.onnxruntime_internals import Histograms
from edgeseg_converters.onnx.passes.shapes import InferShapes
from edgeseg_converters.onnx.passes.taps import ReturnExtremes, ReturnValues
from edgeseg_converters.options import DEFAULT_METHOD

#: Share of the values that ``percentile`` keeps, in percent; half of the rest is cut at each end.
PERCENTILE = 99.99


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


def cut(
    ranges: Ranges,
    data: bytes,
    images: CalibrationSet,
    spec: ModelSpec,
    *,
    method: CalibrationMethod = DEFAULT_METHOD,
    num_threads: int = 2,
) -> Ranges:
    """Run the model once more and cut the tails of the ranges off.

    Args:
        ranges: the result of ``measure`` with the same model and images.
        data: see ``measure``.
        images: see ``measure``.
        spec: see ``measure``.
        method: derives the range from the values. ``minmax`` takes the whole range, without a run; ``percentile`` omits
            the rarest values; ``entropy`` cuts where the distribution of the quantized values is nearest to that of
            the float ones (Kullback-Leibler divergence).
        num_threads: see ``measure``.

    Returns:
        The ranges, cut in each image where it exceeds what the method keeps. Their ``stability`` is therefore mostly
        perfect; only the whole ranges tell whether the images were enough.
    """
    if method == "minmax":
        return ranges
    names = [name for name in ranges.low if name != INPUT_NAME]  # the image's bytes are all kept
    session = _session(ReturnValues(names)(read(data)).model, num_threads)
    histograms = Histograms(method, {name: ranges.limits(name) for name in names}, PERCENTILE)
    for feed in _feeds(images, spec):
        histograms.add(dict(zip(names, session.run(None, feed), strict=True)))
    kept = histograms.thresholds()
    return Ranges(
        {**ranges.low, **{name: np.maximum(ranges.low[name], kept[name][0]) for name in names}},
        {**ranges.high, **{name: np.minimum(ranges.high[name], kept[name][1]) for name in names}},
    )


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
