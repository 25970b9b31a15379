"""The activation of a transposed convolution as an op of its own, in a flatbuffer.

    Given:   TRANSPOSE_CONV with a fused activation      version 4 of the op
    Result:  TRANSPOSE_CONV, RELU                        version 3, and 1 of RELU

LiteRT's GPU accelerator takes versions up to 3, and of a graph that it has to cut it runs one part: a U-Net with
``Conv2DTranspose(activation="relu")`` was on the CPU from its first decoder step on. On XNNPACK no difference in speed
was measured (ratio of medians 1.01, two steps from 64x64 with 48 and 32 channels, two threads on a busy x86-64).
"""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgeseg_converters.tflite.flatbuffer import op_name

_ACTIVATIONS = {
    schema.ActivationFunctionType.RELU: schema.BuiltinOperator.RELU,
    schema.ActivationFunctionType.RELU_N1_TO_1: schema.BuiltinOperator.RELU_N1_TO_1,
    schema.ActivationFunctionType.RELU6: schema.BuiltinOperator.RELU6,
}
_WITH_BIAS, _WITHOUT = 3, 1  # versions


def take_out_activations(model: Any) -> None:
    """Give every transposed convolution's activation an op of its own, in place.

    Args:
        model: the unpacked flatbuffer of a float model; the int8 RELU is an op that XNNPACK does not have.
    """
    graph = model.subgraphs[0]
    convs = [op for op in graph.operators if op_name(model, op) == "TRANSPOSE_CONV"]
    for op in convs:
        kind = _ACTIVATIONS.get(op.builtinOptions.fusedActivationFunction)
        if kind is None:
            continue
        op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        result = int(op.outputs[0])
        before = copy.copy(graph.tensors[result])
        before.name += b"_linear"
        graph.tensors.append(before)
        op.outputs = [len(graph.tensors) - 1]
        activation = schema.OperatorT(opcodeIndex=_code(model, kind), inputs=op.outputs, outputs=[result])
        graph.operators.insert(graph.operators.index(op) + 1, activation)
    if not any(op.builtinOptions.fusedActivationFunction for op in convs):
        for op in convs:
            has_bias = any(len(other.inputs) > 3 for other in convs if other.opcodeIndex == op.opcodeIndex)
            model.operatorCodes[op.opcodeIndex].version = _WITH_BIAS if has_bias else _WITHOUT


def _code(model: Any, kind: int) -> int:
    """Where an op's version 1 is in the list of the ops that the model has."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == kind and code.version == 1:
            return index
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=kind, builtinCode=kind, version=1))
    return len(model.operatorCodes) - 1
