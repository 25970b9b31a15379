"""Quantize a float TFLite file by litert-quantizer.

=========== =============================== ==================== ==============================================
precision   weights                         activations          input and output
=========== =============================== ==================== ==============================================
``dynamic`` int8, one scale for a channel   float32              as in fp32
``int8``    int8, one scale for a channel   int8                 uint8 image, uint8 class map or softmax
``w8a16``   int8, one scale for a channel   int16                uint8 image, uint8 class map
=========== =============================== ==================== ==============================================

The tool calibrates through XNNPACK, so a model with the unpooling custom ops can be quantized, which TensorFlow's own
quantizer cannot. It does not raise op versions, which delegates that check them need: see ``quantize_ptq``.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Precision
from edgeseg.errors import UnsupportedModel
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.tflite.graph import FloatConstants, TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema
from edgeseg_converters.tflite.quantizer_internals import AlgorithmName, Quantizer, TFLOperationName, no_progress_bars

_STATIC = {"int8": 8, "w8a16": 16}

# Where the ops that have weights have their bias, and the largest one that leaves an int32 room for the products.
_BIASES = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
_LARGEST_BIAS = 2.0**30

# Ops that XNNPACK runs with int8 weights and float activations. It would leave a depthwise convolution to the slow
# path, and such a convolution has few weights.
_DYNAMIC_OPS = (TFLOperationName.CONV_2D, TFLOperationName.CONV_2D_TRANSPOSE, TFLOperationName.FULLY_CONNECTED)


def quantize(
    data: bytes,
    precision: Precision,
    ranges: Ranges | None = None,
    *,
    keep: Collection[str] = (),
    only: Collection[str] | None = None,
) -> bytes:
    """Quantize a float file.

    Args:
        data: a float32 ``.tflite`` file with a signature; for a static precision its input takes values 0 to 255.
        precision: ``dynamic``, ``int8`` or ``w8a16``.
        ranges: of the activations; a static precision needs them.
        keep: names of outputs whose ops stay in float.
        only: names of the outputs of the only ops that are quantized; every op when omitted.

    Returns:
        A ``.tflite`` file. With a static precision the inner tensors are integers, and the input and the output are as
        the tool leaves them; ``integer_io.put_in`` makes them uint8.

    Raises:
        UnsupportedModel: the model has a loop, whose ranges nobody measures, or the tool fails.
    """
    source = TfliteGraph.read(data)
    if precision in _STATIC and (loops := _loops(source)):
        raise UnsupportedModel(
            f"{precision} has no loops, the model has {', '.join(loops)}. Give unroll=True to recurrent layers, "
            "or ask for fp16 or dynamic."
        )
    tool = Quantizer(data)
    for scope in [".*"] if only is None else map(_scope, only):
        if precision in _STATIC:
            tool.add_static_config(scope, TFLOperationName.ALL_SUPPORTED, _STATIC[precision], 8)
        else:
            for kind in _DYNAMIC_OPS:
                tool.add_dynamic_config(scope, kind, 8)
    for name in keep:
        tool.update_quantization_recipe(
            _scope(name), TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    calibration = None if ranges is None else _statistics(ranges, source)
    with no_progress_bars(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # channels whose weights are all zero, and interpreters that keep all tensors
        try:
            result = tool.quantize(calibration, enable_progress_report=False)
        except (ValueError, LookupError, RuntimeError) as error:  # for an op in a form that the tool does not know
            raise UnsupportedModel(
                f"litert-quantizer cannot make {precision} of the model: {' '.join(str(error).split())[:200]} "
                "Please report it; fp16 and `format='onnx'` do not need this tool."
            ) from error
    quantized = bytes(result.quantized_model)
    return _with_whole_biases(quantized, source) if precision == "int8" else quantized


def _with_whole_biases(quantized: bytes, source: TfliteGraph) -> bytes:
    """Give channels whose weights are nearly 0 a scale in which their bias is an int32.

    The steps of a bias are those of the input times those of the weights. Where a channel has died in training, its
    weights have next to none, and the tool cuts off what is all that is left of the channel.
    """
    graph, constants = TfliteGraph.read(quantized), FloatConstants(source)
    floats = {source.tensor_name(op.outputs[0]): op for op in source.operators}
    changed = False
    for op in graph.operators:
        place = _BIASES.get(graph.op_name(op))
        before = floats.get(graph.tensor_name(op.outputs[0]))
        if place is None or before is None:
            continue
        if any(len(each.inputs) <= place or int(each.inputs[place]) < 0 for each in (op, before)):
            continue  # without a bias
        weights, bias = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[place]]
        if (weights.type, bias.type) != (schema.TensorType.INT8, schema.TensorType.INT32):
            continue
        whole = constants.value(int(before.inputs[place])).astype(np.float64)
        scales, steps = (np.asarray(tensor.quantization.scale, np.float64) for tensor in (weights, bias))
        cut = np.abs(whole) > _LARGEST_BIAS * steps
        if scales.size != whole.size or not np.any(cut):
            continue
        wider = np.where(cut, np.abs(whole) / (_LARGEST_BIAS * steps), 1.0)
        axis = [1] * len(weights.shape)
        axis[weights.quantization.quantizedDimension] = -1
        integers = _array(graph, weights, np.int8) / wider.reshape(axis)
        _put(graph, weights, np.rint(integers).astype(np.int8), scales * wider)
        # What is not cut off stays as the tool rounded it.
        numbers = np.where(cut, np.rint(whole / (steps * wider)), _array(graph, bias, np.int32))
        _put(graph, bias, numbers.astype(np.int32), steps * wider)
        changed = True
    return graph.write() if changed else quantized


def _array(graph: TfliteGraph, tensor: schema.TensorT, dtype: type[Any]) -> NDArray[Any]:
    data = np.asarray(graph.model.buffers[tensor.buffer].data, np.uint8)
    values: NDArray[Any] = data.view(dtype).reshape(tensor.shape)
    return values


def _put(graph: TfliteGraph, tensor: schema.TensorT, integers: NDArray[Any], scales: NDArray[np.float64]) -> None:
    """Replace a constant, in a buffer of its own: others may have the same one."""
    buffer = schema.BufferT()
    buffer.data = integers.reshape(-1).view(np.uint8)
    graph.model.buffers.append(buffer)
    tensor.buffer = len(graph.model.buffers) - 1
    tensor.quantization = copy.copy(tensor.quantization)
    tensor.quantization.scale = scales.astype(np.float32)


def _loops(graph: TfliteGraph) -> list[str]:
    """Return the ops of a file that run another of its graphs, with their kind."""
    named = [(graph.tensor_name(op.outputs[0]), graph.op_name(op)) for op in graph.operators]
    return [f"'{name}' ({kind})" for name, kind in named if kind in ("WHILE", "IF")]


def _scope(name: str) -> str:
    """Return the tool's name for the op that makes a tensor: the names of its outputs, a semicolon after each."""
    return f"(^|;){re.escape(name)};"


def _statistics(ranges: Ranges, source: TfliteGraph) -> dict[str, dict[str, Any]]:
    """Return the ranges in the tool's form; the image's range is known, so that its bytes are taken as they are.

    Every number has the rank of its tensor: the tool computes with it on constants that are joined to that tensor.
    """
    limits = {name: ranges.limits(name) for name in ranges.low} | {INPUT_NAME: (0.0, 255.0)}
    ranks = {tensor.name.decode(): np.size(tensor.shape) for tensor in source.tensors}

    def shaped(name: str, value: float) -> Any:
        return np.full((1,) * ranks[name], value, np.float32)

    return {name: {"min": shaped(name, low), "max": shaped(name, high)} for name, (low, high) in limits.items()}
