"""Cut the range of a tensor where the activation that reads it hardly changes any more.

A convolution before a swish gives values as far below zero as above it, and the swish makes nearly nothing of all that
is below -7: half of the steps of 8 bits are spent on what has no effect. What is cut here changes the activation's
result by a quarter of its step at most, so that most of it is rounded to the same integer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.tflite.graph import TfliteGraph

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]

#: Places of a range that are tried as its end.
_PLACES = 4096

#: Of a step of the result. Half a step would move all values of a tail, most often to the integer next to that of zero.
_TOLERANCE = 0.25

#: A smaller share of a range is not cut: what is linear there would lose its largest values for nothing.
_LEAST = 0.05


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _swish(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * _sigmoid(x)


# Activations that are constant at one end at least, by the names of their ops without underscores and capitals. A
# HardSigmoid of ONNX has its slope as an attribute, and is not among them.
_FUNCTIONS: Mapping[str, Function] = {
    "logistic": _sigmoid,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


@dataclass(frozen=True)
class _Op:
    kind: str
    inputs: tuple[str, ...]
    output: str


def saturated(ranges: Ranges, data: bytes, file_format: Format, *, steps: int) -> Ranges:
    """Cut the ranges of all tensors that only an activation reads.

    Args:
        ranges: of the tensors of the file.
        data: the float file.
        file_format: ``tflite`` or ``onnx``.
        steps: of an integer activation, 255 of 8 bits.
    """
    low, high = dict(ranges.low), dict(ranges.high)
    for name, results in _read_by_activations(_ops(data, file_format)).items():
        if name not in low or not low.keys() >= results.keys():
            continue
        first, last = ranges.limits(name)
        ends = []
        for output, function in results.items():
            least, most = ranges.limits(output)
            ends.append(_ends(function, first, last, (most - least) / steps * _TOLERANCE))
        # A swish is computed of a sigmoid that has integers, too: neither may change.
        low[name] = np.maximum(low[name], min(end[0] for end in ends))
        high[name] = np.minimum(high[name], max(end[1] for end in ends))
    return Ranges(low, high)


def _ends(function: Function, first: float, last: float, tolerance: float) -> tuple[np.float32, np.float32]:
    """Return the ends of a range outside of which a function stays as it is at the end, up to a tolerance.

    They are on their own sides of zero, so that a range keeps its zero.
    """
    below, above = (np.linspace(end, 0.0, _PLACES) for end in (min(first, 0.0), max(last, 0.0)))
    return _last_constant(function, below, tolerance), _last_constant(function, above, tolerance)


def _last_constant(function: Function, places: NDArray[np.float64], tolerance: float) -> np.float32:
    """Return how far from the first place on a function is constant, up to a tolerance; else the first place."""
    values = function(places)
    apart = np.maximum(np.maximum.accumulate(values) - values, values - np.minimum.accumulate(values))
    beyond = np.flatnonzero(apart > tolerance)
    constant = int(beyond[0]) - 1 if beyond.size else _PLACES - 1
    return np.float32(places[constant if constant > _LEAST * _PLACES else 0])


def _read_by_activations(ops: Sequence[_Op]) -> dict[str, dict[str, Function]]:
    """Return the tensors that nothing but an activation reads, with its results and what they are of the tensor."""
    readers: dict[str, list[_Op]] = {}
    for op in ops:
        for name in dict.fromkeys(op.inputs):
            readers.setdefault(name, []).append(op)
    read: dict[str, dict[str, Function]] = {}
    for name, reading in readers.items():
        gate = next((op for op in reading if op.kind in _FUNCTIONS), None)
        if gate is None:
            continue
        if len(reading) == 1:
            read[name] = {gate.output: _FUNCTIONS[gate.kind]}
        elif len(reading) == 2 and gate.kind in ("logistic", "sigmoid") and len(readers.get(gate.output, ())) == 1:
            product = next(op for op in reading if op is not gate)
            if product.kind == "mul" and set(product.inputs) == {name, gate.output}:
                read[name] = {gate.output: _sigmoid, product.output: _swish}
    return read


def _ops(data: bytes, file_format: Format) -> list[_Op]:
    if file_format == "tflite":
        graph = TfliteGraph.read(data)
        return [
            _Op(
                graph.op_name(op).replace("_", "").lower(),
                tuple(graph.tensor_name(tensor) for tensor in op.inputs if tensor >= 0),
                graph.tensor_name(op.outputs[0]),
            )
            for op in graph.operators
        ]
    nodes: Any = onnx.load_from_string(data).graph.node
    return [_Op(node.op_type.lower(), tuple(node.input), node.output[0]) for node in nodes if node.output]
