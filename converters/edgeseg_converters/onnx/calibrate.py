"""Calibration of an ONNX file: what its tensors hold, by one of three methods, in the memory of one image.

ONNX Runtime's calibrators keep the tensors of every image until the last, and their option against that,
``CalibMaxIntermediateOutputs``, throws the images away unread. Here a first pass notes the smallest and the largest
value of each tensor in each image, reduced inside the graph. ``entropy`` and ``percentile`` then cut the tails off,
by histograms that a second pass fills image by image: their edges are known by then, so their size is, too.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization.calibrate import HistogramCollector

from edgeseg.choices import CalibrationMethod
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.options import DEFAULT_METHOD

#: Share of the values that ``percentile`` keeps, in percent; half of the rest is cut at each end.
PERCENTILE = 99.99

# With the library's own 128 bins, which are as many as its quantized ones, entropy has one candidate: everything.
_BINS = 2048
_QUANTIZED_BINS = 128


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
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    names = activations(model)
    session = _session(_with_extremes(model, names), num_threads)
    # One array of (2 T,) for an image, whatever its size.
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
        ranges: what ``measure`` found with the same model and images.
        data: see ``measure``, and so on.
        images: see ``measure``.
        spec: see ``measure``.
        method: how the range follows from the values. ``minmax`` takes all of it, without a run; ``percentile`` leaves
            out the rarest values; ``entropy`` cuts where the distribution of the quantized values is nearest to that of
            the float ones (Kullback-Leibler divergence).
        num_threads: see ``measure``.

    Returns:
        The ranges, cut in each image where it exceeds what the method keeps; so their ``stability`` is mostly
        perfect: whether the images were enough, the whole ones tell.
    """
    if method == "minmax":
        return ranges
    names = [name for name in ranges.low if name != INPUT_NAME]  # the image's bytes are all kept
    session = _session(_with_outputs(onnx.load_from_string(data), names), num_threads)
    kept = _thresholds(session, names, ranges, _feeds(images, spec), method)
    return Ranges(
        {**ranges.low, **{name: np.maximum(ranges.low[name], kept[name][0]) for name in names}},
        {**ranges.high, **{name: np.minimum(ranges.high[name], kept[name][1]) for name in names}},
    )


def activations(model: onnx.ModelProto) -> list[str]:
    """Names of the float32 tensors that are no constants, in the order of the graph.

    Args:
        model: with inferred shapes.
    """
    graph = model.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    made = [value.name for value in graph.input] + [name for node in graph.node for name in node.output]
    return [name for name in made if kinds.get(name) == TensorProto.FLOAT]


def _feeds(images: CalibrationSet, spec: ModelSpec) -> Iterator[dict[str, NDArray[np.float32]]]:
    for tensor in images.tensors(spec):
        nchw = spec.layout == "nchw"
        yield {INPUT_NAME: np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)) if nchw else tensor}


def _session(model: onnx.ModelProto, num_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = num_threads, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _with_extremes(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with two scalars as its outputs for each name: all the smallest values, then all the largest."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    for kind in ("ReduceMin", "ReduceMax"):
        for index, name in enumerate(names):
            output = f"{kind}_{index}"
            tapped.graph.node.append(helper.make_node(kind, [name], [output], keepdims=0))
            tapped.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return tapped


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with the named tensors as its outputs."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    for index, name in enumerate(names):
        tapped.graph.node.append(helper.make_node("Identity", [name], [f"tapped_{index}"]))
        tapped.graph.output.append(helper.make_tensor_value_info(f"tapped_{index}", TensorProto.FLOAT, None))
    return tapped


def _thresholds(
    session: Any,
    names: list[str],
    ranges: Ranges,
    feeds: Iterator[dict[str, NDArray[np.float32]]],
    method: CalibrationMethod,
) -> dict[str, tuple[Any, ...]]:
    """The lowest and the highest value that the method keeps of each tensor."""
    collector = HistogramCollector(method, False, _BINS, _QUANTIZED_BINS, PERCENTILE, "same")
    for name in names:
        low, high = map(np.float32, ranges.limits(name))
        most = max(abs(low), abs(high), np.finfo(np.float32).tiny)
        edges = np.linspace(-most, most, _BINS + 1, dtype=np.float32)
        collector.histogram_dict[name] = (np.zeros(_BINS, np.int64), edges, low, high, most)
    for feed in feeds:
        collector.collect_value(dict(zip(names, session.run(None, feed), strict=True)))  # "collect" prints first
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        found = collector.compute_collection_result()
    return {name: found[name][:2] for name in names}
