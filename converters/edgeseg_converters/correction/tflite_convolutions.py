"""Read the convolutions of a float TFLite file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.correction.convolutions import Convolution, ConvolutionFile, Put, Window
from edgeseg_converters.tflite.calibrate import values
from edgeseg_converters.tflite.graph import FloatConstants, TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

_Activation = schema.ActivationFunctionType
_LIMITS = {
    _Activation.NONE: (-np.inf, np.inf),
    _Activation.RELU: (0.0, np.inf),
    _Activation.RELU6: (0.0, 6.0),
    _Activation.RELU_N1_TO_1: (-1.0, 1.0),
}

# For each kind: which inputs are the map, the weights and the bias.
_INPUTS = {"CONV_2D": (0, 1, 2), "DEPTHWISE_CONV_2D": (0, 1, 2), "TRANSPOSE_CONV": (2, 1, 3)}

# What may be between the scores and the argmax: it moves or averages each class alike.
_ALIKE = frozenset({"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"})


class TfliteConvolutions(ConvolutionFile):
    """A float ``.tflite`` file; see ``ConvolutionFile``."""

    def __init__(self, data: bytes) -> None:
        self._data, self._graph = data, TfliteGraph.read(data)
        self._constants = FloatConstants(self._graph)
        read = {int(op.outputs[0]): self._read(op) for op in self._graph.operators}
        self._by_result = {tensor: each for tensor, each in read.items() if each is not None}
        self.convolutions = tuple(self._by_result.values())

    def values(
        self, names: Sequence[str], images: CalibrationSet, spec: ModelSpec
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        """See ``ConvolutionFile``."""
        return values(self._data, names, images, spec)

    def head(self) -> Convolution | None:
        """See ``ConvolutionFile``."""
        graph = self._graph
        (tensor,) = graph.outputs
        op = graph.producer(tensor)
        while op is not None and graph.op_name(op) == "CAST":
            op = graph.producer(op.inputs[0])
        if op is None or graph.op_name(op) != "ARG_MAX":
            return None
        while op is not None and self._constants.uses[tensor := int(op.inputs[0])] == 1:
            if tensor in self._by_result:
                return self._by_result[tensor]
            op = graph.producer(tensor)
            if op is not None and graph.op_name(op) not in _ALIKE:
                return None
        return None

    def add_relu(self, convolution: Convolution) -> None:
        """See ``ConvolutionFile``; it is fused into the op."""
        (op,) = (op for op in self._graph.operators if self._graph.tensor_name(op.outputs[0]) == convolution.op)
        op.builtinOptions.fusedActivationFunction = _Activation.RELU

    def write(self) -> bytes:
        """See ``ConvolutionFile``."""
        return self._graph.write()

    def _read(self, op: schema.OperatorT) -> Convolution | None:
        kind = self._graph.op_name(op)
        if kind not in _INPUTS:
            return None
        source, weights, bias = (int(op.inputs[k]) if k < len(op.inputs) else -1 for k in _INPUTS[kind])
        limits = _LIMITS.get(getattr(op.builtinOptions, "fusedActivationFunction", _Activation.NONE))
        # Without a bias the quantizer's file has no place for a correction.
        if limits is None or bias < 0 or not self._constants.is_own(weights) or bias not in self._constants:
            return None
        stored = self._constants.value(weights)
        axes = (3, 0, 1, 2) if kind == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
        name = self._graph.tensor_name(op.outputs[0])
        return Convolution(
            op=name,
            result=name,
            source=self._graph.tensor_name(source),
            kernel=stored.transpose(axes),
            bias=self._constants.value(bias),
            limits=limits,
            window=None if kind == "TRANSPOSE_CONV" else self._window(op, source, stored, kind),
            put_kernel=lambda new: self._constants.put(weights, new.transpose(np.argsort(axes))),
            put_bias=self._bias_putter(op, bias, _INPUTS[kind][2]),
        )

    def _window(self, op: schema.OperatorT, source: int, stored: NDArray[np.float32], kind: str) -> Window:
        options, size = op.builtinOptions, (int(stored.shape[1]), int(stored.shape[2]))
        strides = (int(options.strideH), int(options.strideW))
        dilations = (int(options.dilationHFactor), int(options.dilationWFactor))
        shape, result = self._graph.tensors[source].shape, self._graph.tensors[int(op.outputs[0])].shape
        before = []
        for k in range(2):
            reach = (int(result[1 + k]) - 1) * strides[k] + (size[k] - 1) * dilations[k] + 1
            same = options.padding == schema.Padding.SAME
            before.append(max(reach - int(shape[1 + k]), 0) // 2 if same else 0)
        groups = int(shape[3]) if kind == "DEPTHWISE_CONV_2D" else int(shape[3]) // int(stored.shape[3])
        return Window(size=size, strides=strides, dilations=dilations, before=(before[0], before[1]), groups=groups)

    def _bias_putter(self, op: schema.OperatorT, bias: int, place: int) -> Put:
        """Return what replaces a bias; one that others read, as the zeros that converters share, is copied."""

        def put(new: NDArray[np.float32]) -> None:
            if self._constants.is_own(bias):
                self._constants.put(bias, new)
                return
            old = self._graph.tensors[bias]
            self._graph.model.buffers.append(schema.BufferT())
            copied = schema.TensorT(
                name=f"{self._graph.tensor_name(op.outputs[0])}_bias".encode(),
                shape=old.shape,
                type=old.type,
                buffer=len(self._graph.model.buffers) - 1,
                hasRank=True,
            )
            tensor = self._graph.add_tensor(copied)
            self._constants.put(tensor, new)
            inputs = [int(each) for each in op.inputs]
            inputs[place] = tensor
            self._graph.rewire(op, inputs=inputs)

        return put
