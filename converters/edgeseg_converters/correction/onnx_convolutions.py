"""Read the convolutions of a float ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.correction.convolutions import Convolution, ConvolutionFile, Put, Window
from edgeseg_converters.onnx.calibrate import values
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.passes.constants import add_constant, array_of
from edgeseg_converters.onnx.passes.shapes import DropShapes, InferShapes

# See ``tflite_convolutions``.
_ALIKE = frozenset({"Resize", "Transpose"})
_CHANNELS_LAST = (0, 2, 3, 1)


class OnnxConvolutions(ConvolutionFile):
    """A float ``.onnx`` file; see ``ConvolutionFile``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._model = InferShapes()(read(data)).model
        self._ends = set(self._model.graph.outputs)
        found = {node: self._read(node) for node in self._model.graph if node.op_type in ("Conv", "ConvTranspose")}
        self._by_node = {node: each for node, each in found.items() if each is not None}
        self.convolutions = tuple(self._by_node.values())

    def values(
        self, names: Sequence[str], images: CalibrationSet, spec: ModelSpec
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        """See ``ConvolutionFile``."""
        for maps in values(self._data, names, images, spec):
            yield {name: array.transpose(_CHANNELS_LAST) for name, array in maps.items()}

    def head(self) -> Convolution | None:
        """See ``ConvolutionFile``."""
        node = self._model.graph.outputs[0].producer()
        while node is not None and node.op_type in ("Cast", "Squeeze"):
            node = node.inputs[0].producer() if node.inputs[0] is not None else None
        if node is None or node.op_type != "ArgMax":
            return None
        while node is not None and (value := node.inputs[0]) is not None and self._alone(value):
            node = value.producer()
            if node in self._by_node:
                return self._by_node[node]
            if node is None or node.op_type not in _ALIKE:
                return None
        return None

    def add_relu(self, convolution: Convolution) -> None:
        """See ``ConvolutionFile``."""
        (node,) = (node for node, each in self._by_node.items() if each is convolution)
        linear = node.outputs[0]
        result = ir.Value(name=f"{linear.name}_relu", shape=linear.shape, type=linear.type)
        linear.replace_all_uses_with(result)
        self._model.graph.insert_after(node, [ir.node("Relu", [linear], outputs=[result], name=result.name)])

    def write(self) -> bytes:
        """See ``ConvolutionFile``."""
        DropShapes()(self._model)
        return write(self._model)

    def _read(self, node: ir.Node) -> Convolution | None:
        source, weights, *rest = node.inputs
        bias = rest[0] if rest else None
        stored, added = array_of(weights), array_of(bias)
        transposed, groups = node.op_type == "ConvTranspose", node.attributes.get_int("group", 1)
        if source is None or weights is None or stored is None or stored.ndim != 4 or len(weights.uses()) > 1:
            return None
        if (bias is not None and added is None) or (transposed and groups > 1):
            return None
        axes = (1, 0, 2, 3) if transposed else (0, 1, 2, 3)
        kernel = np.asarray(stored, np.float32).transpose(axes)
        result, limits = self._activated(node.outputs[0])
        return Convolution(
            op=str(node.outputs[0].name),
            result=str(result.name),
            source=str(source.name),
            kernel=kernel,
            bias=np.zeros(len(kernel), np.float32) if added is None else np.asarray(added, np.float32),
            limits=limits,
            window=None if transposed else _window(node, kernel, groups),
            put_kernel=self._kernel_putter(weights, axes),
            put_bias=self._bias_putter(node),
        )

    def _activated(self, value: ir.Value) -> tuple[ir.Value, tuple[float, float]]:
        """Return the value after the activation that alone reads a value, and what it cuts off."""
        readers = value.consumers()
        if self._alone(value) and readers[0].op_type == "Relu":
            return readers[0].outputs[0], (0.0, np.inf)
        if self._alone(value) and readers[0].op_type == "Clip":
            ends = [array_of(each) for each in readers[0].inputs[1:]]
            if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
                return readers[0].outputs[0], (float(ends[0]), float(ends[1]))
        return value, (-np.inf, np.inf)

    def _alone(self, value: ir.Value) -> bool:
        """Return whether one node, and no output, reads a value."""
        return len(value.uses()) == 1 and value not in self._ends

    def _kernel_putter(self, weights: ir.Value, axes: tuple[int, ...]) -> Put:
        def put(new: NDArray[np.float32]) -> None:
            array = np.ascontiguousarray(new.transpose(np.argsort(axes)), np.float32)
            weights.const_value = ir.Tensor(array, name=weights.name)

        return put

    def _bias_putter(self, node: ir.Node) -> Put:
        def put(new: NDArray[np.float32]) -> None:
            graph, name = self._model.graph, f"{node.outputs[0].name}_bias"
            while name in graph.initializers:  # put before; that one has no reader any more
                name += "_"
            node.resize_inputs(3)
            node.replace_input_with(2, add_constant(graph, name, np.array(new, np.float32)))

        return put


def _window(node: ir.Node, kernel: NDArray[np.float32], groups: int) -> Window | None:
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return None
    strides, dilations = (tuple(node.attributes.get_ints(key, (1, 1))) for key in ("strides", "dilations"))
    pads = node.attributes.get_ints("pads", (0, 0, 0, 0))
    return Window(
        size=(kernel.shape[2], kernel.shape[3]),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        before=(pads[0], pads[1]),
        groups=groups,
    )
