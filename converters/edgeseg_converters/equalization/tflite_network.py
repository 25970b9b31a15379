"""Read what ties the channels of a float TFLite file, and scale them there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.equalization.channels import Variables
from edgeseg_converters.equalization.network import Addend, Layer, Limit, Network, conv_sources
from edgeseg_converters.tflite.calibrate import values
from edgeseg_converters.tflite.delegate_pooling import POOL, UNPOOL
from edgeseg_converters.tflite.graph import FloatConstants, TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

_Activation = schema.ActivationFunctionType

# The result has the channels of the first input, each made from that channel alone by a function with f(ax) = a f(x).
_CHANNELWISE = frozenset(
    {
        "AVERAGE_POOL_2D",
        "BROADCAST_TO",
        "LEAKY_RELU",
        "MAX_POOL_2D",
        "MEAN",
        "MIRROR_PAD",
        "PAD",
        "PRELU",
        "RELU",
        "SLICE",
    }
    | {"REDUCE_MAX", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "STRIDED_SLICE", "TILE", POOL, UNPOOL}
)
_SUMS = frozenset({"ADD", "SUB", "MAXIMUM", "MINIMUM"})
_COMPARISONS = frozenset({"EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"})

# What makes a gate or a mask, which is multiplied with a map and keeps its own values.
_GATES = frozenset({"CAST", "HARD_SWISH", "LOGISTIC", "SOFTMAX", "TANH"})

# For each kind of convolution: which inputs are the map, the weights and the bias.
_CONVOLUTIONS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


class TfliteNetwork(Network):
    """A float ``.tflite`` file; see ``Network``."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data, self._graph = data, TfliteGraph.read(data)
        self._constants = FloatConstants(self._graph)
        for op in self._graph.operators:
            if not self._read(op):
                self._fix((*op.inputs, *op.outputs))
        self._fix((*self._graph.inputs, *self._graph.outputs))

    def values(
        self, names: Sequence[str], images: CalibrationSet, spec: ModelSpec
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        """See ``Network``."""
        return values(self._data, names, images, spec)

    def channel_axis(self, name: str) -> int:
        """See ``Network``."""
        return -1

    def write(self) -> bytes:
        """See ``Network``."""
        return self._graph.write()

    def _read(self, op: schema.OperatorT) -> bool:
        """Note what an op ties; return whether it is known."""
        kind, result = self._graph.op_name(op), int(op.outputs[0])
        activation = getattr(op.builtinOptions, "fusedActivationFunction", _Activation.NONE)
        if activation == _Activation.RELU6 or kind == "RELU6":
            self.limits.append(Limit(self._graph.tensor_name(result), 6.0))
        elif activation not in (_Activation.NONE, _Activation.RELU):
            return False
        if kind in _CONVOLUTIONS:
            return self._convolution(kind, op)
        if kind == "STRIDED_SLICE" and not self._keeps_order(op):
            return False
        if kind in _CHANNELWISE or kind == "RELU6":
            return self._keeps_channels(op) and self._same(int(op.inputs[0]), result)
        if kind in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"):
            return self._blocks(int(op.inputs[0]), result)
        if kind == "RESHAPE":  # the last axis is as it was where it has the same length
            return self._same(int(op.inputs[0]), result)
        if kind in ("SPLIT", "SPLIT_V"):
            return self._split(int(op.inputs[1 if kind == "SPLIT" else 0]), op)
        if kind == "CONCATENATION":
            return self._concatenation(op)
        if kind in _COMPARISONS:
            return self._is_float(int(op.inputs[0])) and self._same(int(op.inputs[0]), int(op.inputs[1]))
        if kind in _SUMS:
            return all(self._operand(int(tensor), result) for tensor in op.inputs)
        return kind == "MUL" and self._product(op)

    def _convolution(self, kind: str, op: schema.OperatorT) -> bool:
        source, weights, bias = (int(op.inputs[k]) if k < len(op.inputs) else -1 for k in _CONVOLUTIONS[kind])
        into, out = self._variables(source), self._variables(int(op.outputs[0]))
        if into is None or out is None or not self._constants.is_own(weights):
            return False
        if bias >= 0 and not self._addable(bias):
            return False
        stored = self._constants.value(weights)
        if (kind != "DEPTHWISE_CONV_2D" and into.size % stored.shape[-1]) or (
            kind == "FULLY_CONNECTED" and into.size != stored.shape[-1]
        ):
            return False  # a product of flattened maps
        if kind == "DEPTHWISE_CONV_2D":  # (1, h, w, O)
            kernel = stored.reshape(-1, out.size).T[:, None]
            sources = np.repeat(into, out.size // into.size)[:, None]
        else:  # (O, h, w, I) or (O, I)
            kernel = stored.reshape(out.size, -1, stored.shape[-1]).transpose(0, 2, 1)
            sources = conv_sources(into, stored.shape[-1], out.size)

        def put(new: NDArray[np.float32]) -> None:
            ordered = new[:, 0].T if kind == "DEPTHWISE_CONV_2D" else new.transpose(0, 2, 1)
            self._constants.put(weights, ordered.reshape(stored.shape))

        self.layers.append(Layer(kernel=kernel, into=sources, out=out, put=put))
        if bias >= 0:
            self._add(bias, out)
        return True

    def _split(self, source: int, op: schema.OperatorT) -> bool:
        into, parts = self._variables(source), [self._variables(int(tensor)) for tensor in op.outputs]
        known = [part for part in parts if part is not None]
        if into is None or len(known) < len(parts):
            return False
        if sum(part.size for part in known) == into.size:
            self.channels.tie(into, np.concatenate(known))
            return True
        return all(self._same(source, int(tensor)) for tensor in op.outputs)

    def _keeps_channels(self, op: schema.OperatorT) -> bool:
        """Return whether the last axis of the result is that of the input: not where it was reduced or cut away."""
        before, after = (self._graph.tensors[int(t)].shape for t in (op.inputs[0], op.outputs[0]))
        if len(before) == len(after):
            return True  # with another number of channels where they were reduced
        axes = self._integers(int(op.inputs[1])) if self._graph.op_name(op) in ("MEAN", "REDUCE_MAX") else None
        return axes is not None and all(axis % len(before) != len(before) - 1 for axis in axes)

    def _integers(self, tensor: int) -> list[int] | None:
        if not self._is_constant(tensor):
            return None
        data = np.asarray(self._graph.model.buffers[self._graph.tensors[tensor].buffer].data, np.uint8)
        return [int(number) for number in data.view(np.int32)]

    def _keeps_order(self, op: schema.OperatorT) -> bool:
        """Return whether a slice takes the channels one after the other: ``x[..., ::-1]`` has as many."""
        steps = self._integers(int(op.inputs[3]))
        return steps is not None and steps[-1] == 1

    def _blocks(self, first: int, result: int) -> bool:
        known = [self._variables(first), self._variables(result)]
        if known[0] is None or known[1] is None:
            return False
        flat, deep = sorted((variables for variables in known if variables is not None), key=len)
        self.tie_blocks(deep, flat)
        return True

    def _concatenation(self, op: schema.OperatorT) -> bool:
        result = int(op.outputs[0])
        if any(self._is_constant(int(tensor)) for tensor in op.inputs):
            return False
        if op.builtinOptions.axis not in (-1, len(self._graph.tensors[result].shape) - 1):
            return all(self._same(int(tensor), result) for tensor in op.inputs)
        parts, out = [self._variables(int(tensor)) for tensor in op.inputs], self._variables(result)
        known = [part for part in parts if part is not None]
        if out is None or len(known) < len(parts):
            return False
        self.channels.tie(out, np.concatenate(known))
        return True

    def _operand(self, tensor: int, result: int) -> bool:
        """Tie an operand of a sum to its result; a constant becomes an addend."""
        if not self._is_constant(tensor):
            return self._same(tensor, result)
        out = self._variables(result)
        if out is None or list(self._graph.tensors[tensor].shape)[-1:] != [out.size] or not self._addable(tensor):
            return False
        self._add(tensor, out)
        return True

    def _product(self, op: schema.OperatorT) -> bool:
        """Tie the map of a product to its result: the other operand is a constant, a gate or a mask."""
        maps = [int(tensor) for tensor in op.inputs if not self._is_constant(int(tensor))]
        if len(maps) == 2:
            gate = next((tensor for tensor in maps if self._is_gate(tensor)), None)
            if gate is None:
                return False
            self._fix([gate])
            maps.remove(gate)
        return bool(maps) and self._same(maps[0], int(op.outputs[0]))

    def _is_gate(self, tensor: int) -> bool:
        made = self._graph.producer(tensor)
        return made is not None and self._graph.op_name(made) in _GATES

    def _same(self, one: int, other: int) -> bool:
        first, second = self._variables(one), self._variables(other)
        if first is None or second is None or first.size != second.size:
            return False
        self.channels.tie(first, second)
        return True

    def _fix(self, tensors: Iterable[int]) -> None:
        for tensor in map(int, tensors):
            if tensor >= 0 and not self._is_constant(tensor) and (variables := self._variables(tensor)) is not None:
                self.channels.fix(variables)

    def _variables(self, tensor: int) -> Variables | None:
        shape = self._graph.tensors[tensor].shape
        if self._is_constant(tensor) or not self._is_float(tensor) or shape is None or len(shape) < 2:
            return None
        return self.channels.of(self._graph.tensor_name(tensor), int(shape[-1]))

    def _addable(self, tensor: int) -> bool:
        """Return whether a constant can be scaled; zeros, which converters share, need not be."""
        zeros = tensor in self._constants and not self._constants.value(tensor).any()
        return zeros or self._constants.is_own(tensor)

    def _add(self, tensor: int, variables: Variables) -> None:
        if not self._constants.value(tensor).any():
            return
        self.addends.append(
            Addend(self._constants.value(tensor), -1, variables, lambda new: self._constants.put(tensor, new))
        )

    def _is_float(self, tensor: int) -> bool:
        return bool(self._graph.tensors[tensor].type == schema.TensorType.FLOAT32)

    def _is_constant(self, tensor: int) -> bool:
        data = self._graph.model.buffers[self._graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0
