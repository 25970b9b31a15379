"""Read what ties the channels of a float ONNX file, and scale them there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeseg.choices import Layout
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.equalization.channels import Variables
from edgeseg_converters.equalization.network import Addend, Layer, Limit, Network, Put, conv_sources
from edgeseg_converters.onnx.calibrate import values
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.passes.shapes import DropShapes, InferShapes

# See ``tflite_network``.
_CHANNELWISE = frozenset(
    {"AveragePool", "Expand", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MaxPool", "Neg", "Pad"}
    | {"PRelu", "ReduceMax", "ReduceMean", "Relu", "Resize", "Slice", "Tile"}
)
_SUMS = frozenset({"Add", "Sub", "Max", "Min"})
_COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_GATES = frozenset({"Cast", "HardSigmoid", "HardSwish", "Sigmoid", "Softmax", "Tanh"})

# The inputs of a normalization after the map.
_SCALE, _OFFSET, _MEAN, _VARIANCE = 1, 2, 3, 4


class OnnxNetwork(Network):
    """A float ``.onnx`` file; see ``Network``."""

    def __init__(self, data: bytes, layout: Layout) -> None:
        """Read a file.

        Args:
            data: the file.
            layout: of its input.
        """
        super().__init__()
        self._data = data
        self._model = InferShapes()(read(data)).model
        graph = self._model.graph
        self._fixed: set[str] = set()  # also those whose axis of channels is not known yet
        self._axes: dict[str, int] = {str(value.name): 3 if layout == "nhwc" else 1 for value in graph.inputs}
        for node in graph:
            if not self._read(node):
                self._fix((*node.inputs, *node.outputs))
        self._fix((*graph.inputs, *graph.outputs))

    def values(
        self, names: Sequence[str], images: CalibrationSet, spec: ModelSpec
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        """See ``Network``."""
        return values(self._data, names, images, spec)

    def channel_axis(self, name: str) -> int:
        """See ``Network``."""
        return self._axes[name]

    def write(self) -> bytes:
        """See ``Network``."""
        DropShapes()(self._model)
        return write(self._model)

    def _read(self, node: ir.Node) -> bool:
        """Note what a node ties; return whether it is known."""
        kind, result = node.op_type, node.outputs[0]
        first = node.inputs[0] if node.inputs else None
        if first is None:
            return False
        if kind in ("Conv", "ConvTranspose"):
            return self._convolution(node)
        if kind == "BatchNormalization":
            return self._normalization(node)
        if kind == "Transpose":
            return self._transposed(first, result, node.attributes.get_ints("perm", ()))
        if kind == "Reshape":
            return self._reshaped(first, result)
        if kind == "Split":
            return self._split(node)
        if kind == "Clip":
            return self._clip(node)
        if kind == "Pad" and not self._pads_zeros(node):
            return False
        if kind == "Slice" and not self._keeps_channels(node):
            return False
        if kind in _CHANNELWISE:
            return self._same(first, result)
        if kind in ("DepthToSpace", "SpaceToDepth"):
            return node.attributes.get_string("mode", "DCR") == "DCR" and self._blocks(first, result)
        if kind == "Concat":
            return self._concatenation(node)
        if kind in _COMPARISONS:
            return node.inputs[1] is not None and self._same(first, node.inputs[1])
        if kind in _SUMS:
            return all(value is not None and self._operand(value, result) for value in node.inputs)
        return kind == "Mul" and self._product(node)

    def _convolution(self, node: ir.Node) -> bool:
        source, weights, *bias = node.inputs
        assert source is not None
        if weights is None or not self._own(weights):
            return False
        if not all(self._addable(value) for value in bias if value is not None):
            return False
        stored = self._constant(weights)
        transposed, groups = node.op_type == "ConvTranspose", node.attributes.get_int("group", 1)
        if transposed and groups > 1:
            return False
        self._axes.setdefault(str(node.outputs[0].name), 1)
        into, out = self._variables(source), self._variables(node.outputs[0])
        if into is None or out is None or self._axes[str(source.name)] != 1:
            return False
        order = (1, 0) if transposed else (0, 1)  # (I, O, ...) or (O, I, ...)
        kernel = stored.transpose(*order, *range(2, stored.ndim))
        shape = kernel.shape

        def put(new: NDArray[np.float32]) -> None:
            self._put(weights, new.reshape(shape).transpose(*order, *range(2, stored.ndim)))

        sources = conv_sources(into, shape[1], out.size)
        self.layers.append(Layer(kernel=kernel.reshape(*shape[:2], -1), into=sources, out=out, put=put))
        self._add_all((value, out) for value in bias if value is not None)
        return True

    def _normalization(self, node: ir.Node) -> bool:
        """Read it as a depthwise product after the mean is subtracted; the variance is as it was."""
        source = node.inputs[0]
        assert source is not None
        self._axes.setdefault(str(node.outputs[0].name), 1)
        into, out = self._variables(source), self._variables(node.outputs[0])
        scale, offset, mean = (node.inputs[k] for k in (_SCALE, _OFFSET, _MEAN))
        if into is None or out is None or self._axes[str(source.name)] != 1 or scale is None or not self._own(scale):
            return False
        if not all(value is not None and self._addable(value) for value in (offset, mean)):
            return False
        self.layers.append(
            Layer(
                kernel=self._constant(scale).reshape(-1, 1, 1),
                into=into[:, None],
                out=out,
                put=lambda new: self._put(scale, new.reshape(-1)),
            )
        )
        self._add_all((value, variables) for value, variables in ((offset, out), (mean, into)) if value is not None)
        return True

    def _transposed(self, first: ir.Value, result: ir.Value, order: Sequence[int]) -> bool:
        if str(first.name) not in self._axes or not order:
            return False
        self._axes[str(result.name)] = list(order).index(self._axes[str(first.name)])
        one, other = self._variables(first), self._variables(result)
        if one is None or other is None:
            return False
        self.channels.tie(one, other)
        return True

    def _reshaped(self, first: ir.Value, result: ir.Value) -> bool:
        """Tie a vector of channels to another form of it, as around the gate of squeeze-and-excitation."""
        variables = self._variables(first)
        shape = None if result.shape is None else [size for size in result.shape if isinstance(size, int)]
        if variables is None or first.shape is None or shape is None or len(shape) != len(result.shape or ()):
            return False
        sizes = [size for size in first.shape if isinstance(size, int)]
        if np.prod(sizes) != variables.size or variables.size not in shape:
            return False
        self._axes[str(result.name)] = shape.index(variables.size)
        out = self._variables(result)
        if out is None:
            return False
        self.channels.tie(variables, out)
        return True

    def _split(self, node: ir.Node) -> bool:
        source = node.inputs[0]
        if source is None or source.shape is None or str(source.name) not in self._axes:
            return False
        axis = self._axes[str(source.name)]
        self._axes.update({str(value.name): axis for value in node.outputs})
        if node.attributes.get_int("axis", 0) % len(source.shape) != axis:
            return all(self._same(source, value) for value in node.outputs)
        into, parts = self._variables(source), [self._variables(value) for value in node.outputs]
        known = [part for part in parts if part is not None]
        if into is None or len(known) < len(parts):
            return False
        self.channels.tie(into, np.concatenate(known))
        return True

    def _clip(self, node: ir.Node) -> bool:
        low, high = (self._scalar(node, k) for k in (1, 2))
        if low != 0 or (high is None and len(node.inputs) > 2 and node.inputs[2] is not None):
            return False
        if high is not None:
            self.limits.append(Limit(str(node.outputs[0].name), high))
        return node.inputs[0] is not None and self._same(node.inputs[0], node.outputs[0])

    def _pads_zeros(self, node: ir.Node) -> bool:
        constant = node.attributes.get_string("mode", "constant") == "constant"
        return not constant or len(node.inputs) < 3 or node.inputs[2] is None or self._scalar(node, 2) == 0

    def _keeps_channels(self, node: ir.Node) -> bool:
        """Return whether a slice is not along the channels: ``x[:, ::-1]`` has as many."""
        axes = node.inputs[3] if len(node.inputs) > 3 else None
        first = node.inputs[0]
        if axes is None or axes.const_value is None or first is None or first.shape is None:
            return False
        rank = len(first.shape)
        return self._axes.get(str(first.name)) not in {int(axis) % rank for axis in axes.const_value.numpy()}

    def _blocks(self, first: ir.Value, result: ir.Value) -> bool:
        self._axes.setdefault(str(result.name), 1)
        one, other = self._variables(first), self._variables(result)
        if one is None or other is None or self._axes[str(first.name)] != 1:
            return False
        self.tie_blocks(*sorted((one, other), key=len, reverse=True))
        return True

    def _concatenation(self, node: ir.Node) -> bool:
        known = [value for value in node.inputs if value is not None and value.const_value is None]
        axis = next((self._axes[str(value.name)] for value in known if str(value.name) in self._axes), None)
        result = node.outputs[0]
        if axis is None or len(known) < len(node.inputs) or result.shape is None:
            return False
        self._axes[str(result.name)] = axis
        if node.attributes.get_int("axis", 0) % len(result.shape) != axis:
            return all(self._same(value, result) for value in known)
        parts, out = [self._variables(value) for value in known], self._variables(result)
        found = [part for part in parts if part is not None]
        if out is None or len(found) < len(parts) or any(self._axes[str(value.name)] != axis for value in known):
            return False
        self.channels.tie(out, np.concatenate(found))
        return True

    def _operand(self, value: ir.Value, result: ir.Value) -> bool:
        """Tie an operand of a sum to its result; a constant becomes an addend."""
        if value.const_value is None:
            return self._same(value, result)
        out = self._variables(result)
        if out is None or result.shape is None or not self._addable(value):
            return False
        values = self._constant(value)
        axis = self._axes[str(result.name)] - len(result.shape) + values.ndim
        if axis < 0 or values.shape[axis] != out.size:
            return False
        self.addends.append(Addend(values, axis, out, lambda new: self._put(value, new)))
        return True

    def _product(self, node: ir.Node) -> bool:
        """See ``tflite_network``."""
        maps = [value for value in node.inputs if value is not None and value.const_value is None]
        if len(maps) == 2:
            gate = next((v for v in maps if (made := v.producer()) is not None and made.op_type in _GATES), None)
            if gate is None:
                return False
            self._fix([gate])
            maps.remove(gate)
        return bool(maps) and self._same(maps[0], node.outputs[0])

    def _same(self, one: ir.Value, other: ir.Value) -> bool:
        for known, new in ((one, other), (other, one)):
            if str(known.name) in self._axes and known.shape is not None and new.shape is not None:
                if len(known.shape) != len(new.shape):
                    return False
                self._axes.setdefault(str(new.name), self._axes[str(known.name)])
        first, second = self._variables(one), self._variables(other)
        same_axis = self._axes.get(str(one.name)) == self._axes.get(str(other.name))
        if first is None or second is None or first.size != second.size or not same_axis:
            return False
        self.channels.tie(first, second)
        return True

    def _fix(self, values: Iterable[ir.Value | None]) -> None:
        for value in values:
            if value is not None and value.const_value is None:
                self._fixed.add(str(value.name))
                self._variables(value)

    def _variables(self, value: ir.Value) -> Variables | None:
        axis = self._axes.get(str(value.name))
        if axis is None or value.dtype != ir.DataType.FLOAT or value.shape is None or value.const_value is not None:
            return None
        size = value.shape[axis]
        if not isinstance(size, int):
            return None
        variables = self.channels.of(str(value.name), size)
        if str(value.name) in self._fixed:
            self.channels.fix(variables)
        return variables

    def _add_all(self, constants: Iterable[tuple[ir.Value, Variables]]) -> None:
        for value, variables in constants:
            if not self._constant(value).any():
                continue
            self.addends.append(Addend(self._constant(value), 0, variables, self._putter(value)))

    def _putter(self, value: ir.Value) -> Put:
        return lambda new: self._put(value, new)

    def _own(self, value: ir.Value) -> bool:
        """Return whether a value is a float constant that one node alone reads."""
        return value.const_value is not None and value.dtype == ir.DataType.FLOAT and len(value.uses()) == 1

    def _addable(self, value: ir.Value) -> bool:
        """See ``tflite_network``."""
        return self._own(value) or (value.const_value is not None and not self._constant(value).any())

    def _scalar(self, node: ir.Node, index: int) -> float | None:
        value = node.inputs[index] if index < len(node.inputs) else None
        constant = None if value is None else value.const_value
        return None if constant is None or constant.numpy().size != 1 else float(constant.numpy().ravel()[0])

    def _constant(self, value: ir.Value) -> NDArray[np.float32]:
        assert value.const_value is not None
        return np.asarray(value.const_value.numpy(), np.float32)

    def _put(self, value: ir.Value, new: NDArray[np.float32]) -> None:
        value.const_value = ir.Tensor(np.ascontiguousarray(new, np.float32), name=value.name)
