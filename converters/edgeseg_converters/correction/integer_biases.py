"""Run an integer file whose biases can be shifted, and measure the means of its channels."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.passes.constants import array_of
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

_CONVOLUTIONS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3}

# What follows a convolution in a quantized ONNX file until its result is a number on the tensor's scale.
_FOLLOWING = ("Relu", "Clip", "QuantizeLinear", "DequantizeLinear")


class IntegerBiases(ABC):
    """An integer file whose biases can be shifted.

    Attributes:
        ops: names of the convolutions that have such a bias.
    """

    ops: frozenset[str]

    @abstractmethod
    def limits(self, op: str) -> tuple[float, float]:
        """Return the least and the largest number that the integers of a convolution's result can be."""

    @abstractmethod
    def means(self, op: str) -> NDArray[np.float64]:
        """Return the mean of each channel of a convolution's result over the images, ``(C,)``, after its activation."""

    @abstractmethod
    def shift(self, op: str, by: NDArray[np.float64]) -> None:
        """Add ``(C,)`` numbers to a bias; in TFLite they are rounded to its steps."""


def open_biases(
    data: bytes, file_format: Format, ops: Sequence[str], images: Sequence[NDArray[np.uint8]]
) -> IntegerBiases:
    """Open an integer file.

    Args:
        data: made by an engine.
        file_format: ``tflite`` or ``onnx``.
        ops: names of convolutions of the float file.
        images: as the file's input takes them.
    """
    return (TfliteBiases if file_format == "tflite" else OnnxBiases)(data, ops, images)


class TfliteBiases(IntegerBiases):
    """A ``.tflite`` file, whose biases are changed where they are in its bytes: writing it again takes longer."""

    def __init__(self, data: bytes, ops: Sequence[str], images: Sequence[NDArray[np.uint8]]) -> None:
        graph, asked = TfliteGraph.read(data), set(ops)
        found, buffers = {}, {}
        self._limits = {}
        for op in graph.operators:
            name, place = graph.tensor_name(op.outputs[0]), _CONVOLUTIONS.get(graph.op_name(op))
            if place is None or name not in asked or len(op.inputs) <= place or int(op.inputs[place]) < 0:
                continue
            old, result = graph.tensors[op.inputs[place]], graph.tensors[op.outputs[0]]
            if old.type != schema.TensorType.INT32 or result.type != schema.TensorType.INT8:
                continue  # an op in float
            own = copy.copy(old)  # others may read the same zeros
            graph.model.buffers.append(copy.copy(graph.model.buffers[old.buffer]))
            own.buffer = buffers[name] = len(graph.model.buffers) - 1
            graph.rewire(op, inputs=[*op.inputs[:place], graph.add_tensor(own), *op.inputs[place + 1 :]])
            found[name] = int(op.outputs[0]), np.ravel(old.quantization.scale)
            self._limits[name] = _limits(np.int8, result.quantization.scale[0], result.quantization.zeroPoint[0])
        self.ops = frozenset(found)
        self._images, self._first = images, len(graph.outputs)
        self._tapped = {name: place for place, name in enumerate(found)}
        self._scales = {name: scale for name, (_, scale) in found.items()}
        results = [tensor for tensor, _ in found.values()]
        self._data = bytearray(graph.with_outputs([*graph.outputs, *results]).write(shared=False))
        model = schema.Model.GetRootAs(self._data)
        # Views of the file's bytes.
        self._biases = {name: model.Buffers(index).DataAsNumpy().view(np.int32) for name, index in buffers.items()}

    def limits(self, op: str) -> tuple[float, float]:
        """See ``IntegerBiases``."""
        return self._limits[op]

    def means(self, op: str) -> NDArray[np.float64]:
        """See ``IntegerBiases``."""
        interpreter = Interpreter(model_content=bytes(self._data), num_threads=2)
        interpreter.allocate_tensors()
        (fed,) = interpreter.get_input_details()
        result = interpreter.get_output_details()[self._first + self._tapped[op]]
        total: NDArray[np.float64] = np.zeros(1)
        for image in self._images:
            interpreter.set_tensor(fed["index"], image)
            interpreter.invoke()
            values = interpreter.get_tensor(result["index"])
            total = total + values.mean(axis=tuple(range(values.ndim - 1)), dtype=np.float64)
        scale, zero_point = result["quantization"]
        return np.asarray((total / len(self._images) - zero_point) * scale)

    def shift(self, op: str, by: NDArray[np.float64]) -> None:
        """See ``IntegerBiases``."""
        steps = np.rint(by / self._scales[op]) + self._biases[op]
        self._biases[op][:] = np.clip(steps, np.iinfo(np.int32).min, np.iinfo(np.int32).max)


class OnnxBiases(IntegerBiases):
    """An ``.onnx`` file, whose biases become inputs; the convolution then computes in float on its integers."""

    def __init__(self, data: bytes, ops: Sequence[str], images: Sequence[NDArray[np.uint8]]) -> None:
        model, asked = read(data), set(ops)
        graph = model.graph
        self._images, self._name = images, str(graph.inputs[0].name)
        self._fed: dict[str, NDArray[np.float32]] = {}
        self._taps: dict[str, str] = {}
        self._limits: dict[str, tuple[float, float]] = {}
        for node in list(graph):
            op = str(node.name)  # its result has the name of the activation that was removed
            if node.op_type not in ("Conv", "ConvTranspose") or op not in asked or (bias := _bias(node)) is None:
                continue
            fed = ir.Value(name=f"bias_of_{op}", shape=ir.Shape(bias.shape), type=ir.TensorType(ir.DataType.FLOAT))
            graph.inputs.append(fed)
            node.resize_inputs(3)
            node.replace_input_with(2, fed)
            end = node.outputs[0]
            self._limits[op] = -np.inf, np.inf
            while len(end.uses()) == 1 and (reader := end.consumers()[0]).op_type in _FOLLOWING:
                end = reader.outputs[0]
                if reader.op_type == "QuantizeLinear":
                    scale, zero_point = (array_of(value) for value in reader.inputs[1:3])
                    if scale is not None and zero_point is not None:
                        self._limits[op] = _limits(zero_point.dtype, float(scale), int(zero_point))
                if reader.op_type == "DequantizeLinear":
                    break
            graph.outputs.append(end)
            end.type = ir.TensorType(ir.DataType.FLOAT)
            self._fed[op], self._taps[op] = bias, str(end.name)
        self.ops = frozenset(self._fed)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 2, 3
        self._session = onnxruntime.InferenceSession(write(model), options, providers=["CPUExecutionProvider"])

    def limits(self, op: str) -> tuple[float, float]:
        """See ``IntegerBiases``."""
        return self._limits[op]

    def means(self, op: str) -> NDArray[np.float64]:
        """See ``IntegerBiases``."""
        feed = {f"bias_of_{name}": bias for name, bias in self._fed.items()}
        maps = [self._session.run([self._taps[op]], {**feed, self._name: image})[0] for image in self._images]
        return np.asarray(np.mean([values.mean(axis=(0, 2, 3), dtype=np.float64) for values in maps], axis=0))

    def shift(self, op: str, by: NDArray[np.float64]) -> None:
        """See ``IntegerBiases``."""
        self._fed[op] = (self._fed[op] + by).astype(np.float32)


def _limits(dtype: Any, scale: float, zero_point: int) -> tuple[float, float]:
    """Return the least and the largest number that integers with a scale can be."""
    codes = np.iinfo(dtype)
    return float(codes.min - zero_point) * scale, float(codes.max - zero_point) * scale


def _bias(node: ir.Node) -> NDArray[np.float32] | None:
    """Return a convolution's bias as numbers; ``None`` of one in float, whose weights are no integers."""
    weights = node.inputs[1].producer() if node.inputs[1] is not None else None
    codes = array_of(weights.inputs[0]) if weights is not None and weights.op_type == "DequantizeLinear" else None
    if codes is None:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        count = codes.shape[0] if node.op_type == "Conv" else codes.shape[1] * node.attributes.get_int("group", 1)
        return np.zeros(count, np.float32)
    made = bias.producer()
    if made is None:
        return None if (plain := array_of(bias)) is None else np.asarray(plain, np.float32)
    steps, scale = (array_of(value) for value in made.inputs[:2])
    return None if steps is None or scale is None else np.asarray(steps * scale, np.float32)
