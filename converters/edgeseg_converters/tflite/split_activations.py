"""Give the activation of a transposed convolution its own op, in a flatbuffer.

    Given:   TRANSPOSE_CONV with a fused activation      version 4 of the op
    Result:  TRANSPOSE_CONV, RELU                        version 3, and 1 of RELU

LiteRT's GPU accelerator takes versions up to 3, and it runs only one part of a graph that it has to cut: a U-Net with
``Conv2DTranspose(activation="relu")`` was on the CPU from its first decoder step on. On XNNPACK no difference in speed
was measured (ratio of medians 1.01, two steps from 64x64 with 48 and 32 channels, two threads on a busy x86-64).
"""

from __future__ import annotations

import copy

import numpy as np

from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

_ACTIVATIONS = {
    schema.ActivationFunctionType.RELU: "RELU",
    schema.ActivationFunctionType.RELU_N1_TO_1: "RELU_N1_TO_1",
    schema.ActivationFunctionType.RELU6: "RELU6",
}
_WITH_BIAS, _WITHOUT = 3, 1  # versions


def split_activations(graph: TfliteGraph) -> None:
    """Give every transposed convolution's activation its own op, in place.

    Args:
        graph: of a float model; the int8 RELU is an op that XNNPACK does not have, see ``drop_activations``.
    """
    convs = _transposed(graph)
    for op in convs:
        kind = _ACTIVATIONS.get(op.builtinOptions.fusedActivationFunction)
        if kind is None:
            continue
        op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        result = int(op.outputs[0])
        before = copy.copy(graph.tensors[result])
        before.name += b"_linear"
        linear = graph.add_tensor(before)
        graph.rewire(op, outputs=[linear])
        activation = schema.OperatorT(opcodeIndex=graph.opcode(kind, version=1), inputs=[linear], outputs=[result])
        graph.insert(activation, after=op)
    if not any(op.builtinOptions.fusedActivationFunction for op in convs):
        for op in convs:
            has_bias = any(len(other.inputs) > 3 for other in convs if other.opcodeIndex == op.opcodeIndex)
            graph.code(op).version = _WITH_BIAS if has_bias else _WITHOUT


def drop_activations(graph: TfliteGraph) -> None:
    """Drop the fused activations of int8 transposed convolutions that the range of the integers replaces, in place.

        Given:   TRANSPOSE_CONV with RELU, 0 the lowest integer of its result      version 4 of the op
        Result:  TRANSPOSE_CONV                                                     version 3

    The result is the same to the bit: the quantizer takes the range from what remains after the activation.

    Args:
        graph: of a quantized model.
    """
    convs = _transposed(graph)
    for op in convs:
        result = graph.tensors[op.outputs[0]]
        if result.type == schema.TensorType.INT8 and _has_effect_of(op, result.quantization):
            op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    if not any(op.builtinOptions.fusedActivationFunction for op in convs):
        for op in convs:
            graph.code(op).version = min(graph.code(op).version, _WITH_BIAS)


def _has_effect_of(op: schema.OperatorT, quantization: schema.QuantizationParametersT) -> bool:
    """Return whether the integers of a result end where its activation does."""
    integers = np.iinfo(np.int8)
    scale, zero_point = (np.ravel(values)[0] for values in (quantization.scale, quantization.zeroPoint))
    kinds, kind = schema.ActivationFunctionType, op.builtinOptions.fusedActivationFunction
    if kind not in (kinds.RELU, kinds.RELU6) or zero_point != integers.min:
        return False
    return bool(kind == kinds.RELU or zero_point + round(6 / float(scale)) >= integers.max)


def _transposed(graph: TfliteGraph) -> list[schema.OperatorT]:
    return [op for op in graph.operators if graph.op_name(op) == "TRANSPOSE_CONV"]
