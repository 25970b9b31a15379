"""Derive the values that a model's output can take from the ops that TensorFlow runs for its last layers.

A probability is a number in [0, 1], however a user's code computes it: by a sigmoid that is resized afterwards, by the
mean of two, by ``relu6(x + 3) / 6``. So the interval of an op follows from those of its inputs. Each layer is traced
alone, and only as far back as is needed; an unknown op may give any value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from edgeseg.models.ending import Producer, Step, fed_from, traced

Origin = Literal["linear", "constant", "ids", "other"]

# They move values, take means of them, or round them: no value leaves the interval, except for bicubic's overshoot.
# fmt: off
_KEEPING = {
    "Identity", "Snapshot", "StopGradient", "PreventGradient", "EnsureShape", "CheckNumerics", "Cast", "Reshape",
    "Squeeze", "ExpandDims", "Transpose", "Slice", "StridedSlice", "Gather", "GatherV2", "GatherNd", "Tile",
    "BroadcastTo", "ReverseV2", "MirrorPad", "Unpack", "SplitV", "DepthToSpace", "SpaceToDepth", "BatchToSpaceND",
    "SpaceToBatchND", "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate",
    "AvgPool", "MaxPool", "Max", "Min", "Mean",
}
# Weighted sums have any sign and any size, as logits do.
_LINEAR = {
    "Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMul", "BatchMatMulV2",
    "BatchMatMulV3", "Einsum",
}
# fmt: on
_BOUNDED = {
    **dict.fromkeys(("Softmax", "Sigmoid"), (0.0, 1.0)),
    **dict.fromkeys(("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "LogicalAnd", "LogicalNot"), (0.0, 1.0)),
    **dict.fromkeys(("Relu", "Softplus", "Abs", "Square", "Sqrt"), (0.0, math.inf)),
    "Relu6": (0.0, 6.0),
    "Tanh": (-1.0, 1.0),
    "LogSoftmax": (-math.inf, 0.0),
}


@dataclass(frozen=True)
class Interval:
    """The values of a tensor.

    Attributes:
        low: the smallest possible value; ``-inf`` where nothing is known.
        high: the largest possible value; ``inf`` where nothing is known.
        origin: ``linear`` comes from a convolution and is never taken for a probability; ``ids`` come from an argmax;
            a ``constant`` does not depend on the image.
    """

    low: float = -math.inf
    high: float = math.inf
    origin: Origin = "other"

    @property
    def is_probability(self) -> bool:
        """Whether it is [0, 1], up to the rounding of weights such as 0.7 and 0.3."""
        return math.isclose(self.low, 0, abs_tol=1e-5) and math.isclose(self.high, 1, abs_tol=1e-5)


class ValueIntervals:
    """The intervals of a model's symbolic values, each computed once.

    Args:
        producer: gives the steps of the model.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._known: dict[Any, Interval] = {}

    def of(self, value: Any) -> Interval:
        """Return the interval of a value; nothing is known of an input of the model."""
        if value not in self._known:
            step = self._producer(value)
            self._known[value] = Interval() if step is None else _Ops(step, self.of).of(traced(step, value))
        return self._known[value]


class _Ops:
    """The intervals of the tensors that were traced for one step."""

    def __init__(self, step: Step, outside: Callable[[Any], Interval]) -> None:
        self._step = step
        self._outside = outside
        self._known: dict[str, Interval] = {}

    def of(self, tensor: Any) -> Interval:
        if tensor.name not in self._known:
            self._known[tensor.name] = self._interval(tensor)
        return self._known[tensor.name]

    def _interval(self, tensor: Any) -> Interval:
        op, inputs = tensor.op, tensor.op.inputs
        value = fed_from(self._step, tensor)
        if value is not None:
            return self._outside(value)
        if self._is_constant(tensor):
            return _constant(tensor)
        if op.type in _BOUNDED:
            return Interval(*_BOUNDED[op.type])
        if op.type in _KEEPING:
            return self.of(inputs[0])
        if op.type == "IdentityN":
            return self.of(inputs[tensor.value_index])
        if op.type == "Split":
            return self.of(inputs[1])
        if op.type in ("ArgMax", "ArgMin"):
            return Interval(0, math.inf, "ids")
        if op.type == "OneHot":
            return Interval(0, 1, self.of(inputs[0]).origin)
        if op.type in _LINEAR:
            # With probabilities as input it may be a mean, such as a blur.
            fed = [self.of(each) for each in inputs if each.dtype.is_floating and not self._is_constant(each)]
            return Interval() if any(each.is_probability for each in fed) else Interval(origin="linear")
        if op.type in ("ConcatV2", "Pack", "SelectV2", "AddN", "Pad", "PadV2"):
            return self._of_several(op)
        if op.type in _ARITHMETIC:
            return self._arithmetic(op)
        return Interval()

    def _of_several(self, op: Any) -> Interval:
        parts = {
            "ConcatV2": op.inputs[:-1],
            "SelectV2": op.inputs[1:],
            "Pad": op.inputs[:1],
            "PadV2": op.inputs[::2],
        }.get(op.type, op.inputs)
        intervals = [self.of(part) for part in parts]
        if op.type == "Pad":  # with zeros
            intervals.append(Interval(0, 0, "constant"))
        lows, highs = [each.low for each in intervals], [each.high for each in intervals]
        if op.type == "AddN":
            return Interval(sum(lows), sum(highs), _origin(intervals))
        return Interval(min(lows), max(highs), _origin(intervals))

    def _arithmetic(self, op: Any) -> Interval:
        intervals = [self.of(each) for each in op.inputs]
        low, high = _ARITHMETIC[op.type](*intervals)
        keeps_sums = op.type in ("AddV2", "Add", "BiasAdd", "Sub", "Neg")
        scales = op.type in ("Mul", "RealDiv") and sum(each.origin != "constant" for each in intervals) == 1
        return Interval(low, high, _origin(intervals) if keeps_sums or scales else "other")

    def _is_constant(self, tensor: Any) -> bool:
        """Return whether a tensor follows from constants and variables alone."""
        pending, seen = [tensor], set()
        while pending:
            name = (one := pending.pop()).name
            if name in seen:
                continue
            seen.add(name)
            if fed_from(self._step, one) is not None:
                return False
            pending.extend(one.op.inputs)
        return True


def _constant(tensor: Any) -> Interval:
    """Return the interval of a constant; a variable may change, so its value is not read."""
    import tensorflow as tf  # here, as a training on another backend needs none of it

    value = tf.get_static_value(tensor)
    if value is None or not value.size or value.dtype.kind not in "fiub":
        return Interval(origin="constant")
    return Interval(float(value.min()), float(value.max()), "constant")


def _origin(intervals: list[Interval]) -> Origin:
    origins = {each.origin for each in intervals} - {"constant"}
    return origins.pop() if len(origins) == 1 else "other" if origins else "constant"


def _product(a: Interval, b: Interval) -> tuple[float, float]:
    corners = [x * y if x and y else 0.0 for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(corners), max(corners)


def _quotient(a: Interval, b: Interval) -> tuple[float, float]:
    if b.low <= 0 <= b.high or not math.isfinite(b.low * b.high):
        return -math.inf, math.inf
    return _product(a, Interval(1 / b.high, 1 / b.low))


def _exp(x: float) -> float:
    return math.exp(min(x, 700))  # beyond, it does not fit a float


def _sum(a: Interval, b: Interval) -> tuple[float, float]:
    return a.low + b.low, a.high + b.high


_ARITHMETIC: dict[str, Callable[..., tuple[float, float]]] = {
    "AddV2": _sum,
    "Add": _sum,
    "BiasAdd": _sum,
    "Sub": lambda a, b: (a.low - b.high, a.high - b.low),
    "Neg": lambda a: (-a.high, -a.low),
    "Mul": _product,
    "RealDiv": _quotient,
    "Maximum": lambda a, b: (max(a.low, b.low), max(a.high, b.high)),
    "Minimum": lambda a, b: (min(a.low, b.low), min(a.high, b.high)),
    "ClipByValue": lambda x, low, high: (min(max(x.low, low.low), high.high), max(min(x.high, high.high), low.low)),
    "Exp": lambda a: (_exp(a.low), _exp(a.high)),
}
