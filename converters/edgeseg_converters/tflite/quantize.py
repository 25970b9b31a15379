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

import re
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np

from edgeseg.choices import Precision
from edgeseg.errors import UnsupportedModel
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.quantizer_internals import AlgorithmName, Quantizer, TFLOperationName, no_progress_bars

_STATIC = {"int8": 8, "w8a16": 16}

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
    if precision in _STATIC and (loops := _loops(data)):
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
    calibration = None if ranges is None else _statistics(ranges, data)
    with no_progress_bars(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # channels whose weights are all zero, and interpreters that keep all tensors
        try:
            result = tool.quantize(calibration, enable_progress_report=False)
        except (ValueError, LookupError, RuntimeError) as error:  # for an op in a form that the tool does not know
            raise UnsupportedModel(
                f"litert-quantizer cannot make {precision} of the model: {' '.join(str(error).split())[:200]} "
                "Please report it; fp16 and `format='onnx'` do not need this tool."
            ) from error
    return bytes(result.quantized_model)


def _loops(data: bytes) -> list[str]:
    """Return the ops of a file that run another of its graphs, with their kind."""
    graph = TfliteGraph.read(data)
    named = [(graph.tensor_name(op.outputs[0]), graph.op_name(op)) for op in graph.operators]
    return [f"'{name}' ({kind})" for name, kind in named if kind in ("WHILE", "IF")]


def _scope(name: str) -> str:
    """Return the tool's name for the op that makes a tensor: the names of its outputs, a semicolon after each."""
    return f"(^|;){re.escape(name)};"


def _statistics(ranges: Ranges, data: bytes) -> dict[str, dict[str, Any]]:
    """Return the ranges in the tool's form; the image's range is known, so that its bytes are taken as they are.

    Every number has the rank of its tensor: the tool computes with it on constants that are joined to that tensor.
    """
    limits = {name: ranges.limits(name) for name in ranges.low} | {INPUT_NAME: (0.0, 255.0)}
    ranks = {tensor.name.decode(): np.size(tensor.shape) for tensor in TfliteGraph.read(data).tensors}

    def shaped(name: str, value: float) -> Any:
        return np.full((1,) * ranks[name], value, np.float32)

    return {name: {"min": shaped(name, low), "max": shaped(name, high)} for name, (low, high) in limits.items()}
