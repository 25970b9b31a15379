"""The ends of a quantized TFLite file: bytes of an image in, a class map out, nothing in float that need not be.

ai-edge-quantizer leaves an int8 input and a float island around every op that it has no rule for. Here

* the image becomes uint8 with scale 1, by a QUANTIZE behind it: the bytes that a camera gives;
* ``DEQUANTIZE -> op -> QUANTIZE`` becomes ``op`` where the op only moves values and both scales are the same, and so
  the result is the same to the bit;
* ARG_MAX reads integers, which a scale does not reorder;
* the part of a SPLIT that nobody reads, of SegNet's windows the last, has the type of the others;
* a RELU of its own, as before Xception's convolutions, becomes the QUANTIZE from its input's scale to its output's,
  whose lowest integer is zero: what is below is cut off either way. XNNPACK has that one in int8 and no RELU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.tflite.flatbuffer import op_name, unread

#: Ops that copy values and for which ai-edge-quantizer 0.10 has no rule.
_MOVES_VALUES = frozenset({"DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "TILE", "RESIZE_NEAREST_NEIGHBOR"})


def put_in(model: Any) -> None:
    """Give a quantized network integer ends and take out the float islands that are not needed, in place.

    Args:
        model: the unpacked flatbuffer of what ``quantize.quantize`` made in a static precision. Afterwards its input
            is uint8 with scale 1.
    """
    graph = model.subgraphs[0]
    _merge_islands(model, graph)
    _quantize_unread(model, graph)
    _read_integers(model, graph)
    _cut_off_by_range(model, graph)
    _uint8_input(model, graph)


def _merge_islands(model: Any, graph: Any) -> None:
    """Let ops that move values work on integers."""
    for op in list(graph.operators):
        if op_name(model, op) not in _MOVES_VALUES:
            continue
        before = _producer(graph, op.inputs[0])
        after = _readers(graph, op.outputs[0])
        if before is None or op_name(model, before) != "DEQUANTIZE" or not after:
            continue
        source, results = graph.tensors[before.inputs[0]], [graph.tensors[reader.outputs[0]] for reader in after]
        # Of int16 these ops have no kernel.
        same = source.type == schema.TensorType.INT8 and all(_same_scale(source, result) for result in results)
        if any(op_name(model, reader) != "QUANTIZE" for reader in after) or not same:
            continue
        moved = graph.tensors[op.outputs[0]]
        moved.type, moved.quantization = source.type, source.quantization
        op.inputs[0] = before.inputs[0]
        for reader in after:
            _redirect(graph, reader.outputs[0], op.outputs[0])
            graph.operators.remove(reader)
    _remove_unread(model, graph)


def _quantize_unread(model: Any, graph: Any) -> None:
    """Give the part of a SPLIT that nobody reads the scale of the others; the tool leaves it in float."""
    alone = unread(graph)
    for op in graph.operators:
        if op_name(model, op) == "SPLIT":
            source = graph.tensors[op.inputs[1]]
            for index in map(int, op.outputs):
                if index in alone:
                    graph.tensors[index].type = source.type
                    graph.tensors[index].quantization = source.quantization


def _read_integers(model: Any, graph: Any) -> None:
    """Let an ARG_MAX read what its DEQUANTIZE reads; a positive scale keeps the order."""
    for op in graph.operators:
        if op_name(model, op) != "ARG_MAX":
            continue
        before = _producer(graph, op.inputs[0])
        if before is not None and op_name(model, before) == "DEQUANTIZE":
            source = graph.tensors[before.inputs[0]]
            if source.type == schema.TensorType.INT8:  # the builtin has no kernel for int16
                op.inputs[0] = before.inputs[0]
    _remove_unread(model, graph)


def _cut_off_by_range(model: Any, graph: Any) -> None:
    """Let the lowest integer do what a RELU does."""
    lowest = np.iinfo(np.int8).min
    for op in graph.operators:
        if op_name(model, op) != "RELU":
            continue
        before, after = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
        integers = before.type == after.type == schema.TensorType.INT8  # XNNPACK has nothing of int16
        if integers and int(np.ravel(after.quantization.zeroPoint)[0]) == lowest:
            op.opcodeIndex = _opcode(model, "QUANTIZE")


def _uint8_input(model: Any, graph: Any) -> None:
    """Put the uint8 image before what the network reads: int8 by QUANTIZE, float by DEQUANTIZE."""
    (index,) = graph.inputs
    inner = graph.tensors[index]
    image = schema.TensorT(name=INPUT_NAME.encode(), shape=inner.shape, type=schema.TensorType.UINT8, hasRank=True)
    image.quantization = schema.QuantizationParametersT(
        scale=np.array([1], np.float32), zeroPoint=np.array([0], np.int64)
    )
    inner.name = f"{INPUT_NAME}_network".encode()
    graph.tensors.append(image)
    new = len(graph.tensors) - 1
    kind = "DEQUANTIZE" if inner.type == schema.TensorType.FLOAT32 else "QUANTIZE"
    op = schema.OperatorT(opcodeIndex=_opcode(model, kind), inputs=[new], outputs=[index])
    graph.operators.insert(0, op)
    graph.inputs = [new]
    for signature in model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex = new


def _opcode(model: Any, name: str) -> int:
    code = getattr(schema.BuiltinOperator, name)
    for index, known in enumerate(model.operatorCodes):
        if known.builtinCode == code:
            return index
    # Versions 1 read float and int8; 2 brought uint8 to int8 and int16.
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=2))
    return len(model.operatorCodes) - 1


def _remove_unread(model: Any, graph: Any) -> None:
    """Remove DEQUANTIZE and QUANTIZE ops whose result nobody reads any more."""
    while True:
        alone = unread(graph)
        left = [
            op
            for op in graph.operators
            if op_name(model, op) in ("DEQUANTIZE", "QUANTIZE") and int(op.outputs[0]) in alone
        ]
        if not left:
            return
        for op in left:
            graph.operators.remove(op)


def _redirect(graph: Any, old: int, new: int) -> None:
    for op in graph.operators:
        op.inputs = [new if int(index) == int(old) else int(index) for index in op.inputs]
    graph.outputs = [new if int(index) == int(old) else int(index) for index in graph.outputs]


def _same_scale(first: Any, second: Any) -> bool:
    return first.type == second.type and all(
        np.array_equal(getattr(first.quantization, field), getattr(second.quantization, field))
        for field in ("scale", "zeroPoint")
    )


def _producer(graph: Any, index: int) -> Any:
    return next((op for op in graph.operators if int(index) in map(int, op.outputs)), None)


def _readers(graph: Any, index: int) -> list[Any]:
    return [op for op in graph.operators if int(index) in map(int, op.inputs)]
