"""Give the activation of a transposed convolution its own op, in a flatbuffer.

    Given:   TRANSPOSE_CONV with a fused activation      version 4 of the op
    Result:  TRANSPOSE_CONV, RELU                        version 3, and 1 of RELU

LiteRT's GPU accelerator takes versions up to 3, and it runs only one part of a graph that it has to cut: a U-Net with
``Conv2DTranspose(activation="relu")`` was on the CPU from its first decoder step on. On XNNPACK no difference in speed
was measured (ratio of medians 1.01, two steps from 64x64 with 48 and 32 channels, two threads on a busy x86-64).
"""

from __future__ import annotations

import copy

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
        graph: of a float model; the int8 RELU is an op that XNNPACK does not have.
    """
    convs = [op for op in graph.operators if graph.op_name(op) == "TRANSPOSE_CONV"]
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
