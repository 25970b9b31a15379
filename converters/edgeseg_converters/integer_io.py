"""The ends of a quantized TFLite file: bytes of a picture in, a class map out, nothing in float that need not be.

ai-edge-quantizer leaves an int8 input, a float island around every op that it has no rule for, and a file with the
same vectors of zeros hundreds of times. Here

* the image becomes uint8 with scale 1, by a QUANTIZE behind it: the bytes that a camera gives;
* ``DEQUANTIZE -> op -> QUANTIZE`` becomes ``op`` where the op only moves values and both scales are the same, and so
  the result is the same to the bit; ARG_MAX reads integers, which the scale does not reorder;
* equal vectors of scales and zero points are stored once. A channel costs 12 bytes of them otherwise, which is a tenth
  of a file with many small convolutions.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgeseg_converters.frozen import INPUT_NAME

#: Ops that copy values and for which ai-edge-quantizer 0.10 has no rule.
_MOVES_VALUES = frozenset({"DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "TILE", "RESIZE_NEAREST_NEIGHBOR"})

# Larger vectors are weights; comparing those would cost more than it finds.
_MAX_SHARED = 65536


def finish(data: bytes) -> bytes:
    """Give a quantized file integer ends and take out the float islands that are not needed.

    Args:
        data: what ``quantize.quantize`` made in a static precision.

    Returns:
        The same network with a uint8 input of scale 1.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    graph = model.subgraphs[0]
    _merge_islands(model, graph)
    _read_integers(model, graph)
    _uint8_input(model, graph)
    return pack(model)


def pack(model: Any) -> bytes:
    """Write a model with equal small vectors stored once."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.shape is not None:
            tensor.shape = np.asarray(tensor.shape, np.int32)
        if (quantization := tensor.quantization) is not None and quantization.scale is not None:
            quantization.scale = np.asarray(quantization.scale, np.float32)
            quantization.zeroPoint = np.asarray(quantization.zeroPoint, np.int64)
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes a vector that it has written before as a reference to that one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802 - the base class's name
        """Write a vector, or find it."""
        if x.nbytes > _MAX_SHARED:
            return int(super().CreateNumpyVector(x))
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]


def _merge_islands(model: Any, graph: Any) -> None:
    """Let ops that move values work on integers."""
    for op in list(graph.operators):
        if _name(model, op) not in _MOVES_VALUES:
            continue
        before = _producer(graph, op.inputs[0])
        after = _readers(graph, op.outputs[0])
        if before is None or _name(model, before) != "DEQUANTIZE" or not after:
            continue
        source, results = graph.tensors[before.inputs[0]], [graph.tensors[reader.outputs[0]] for reader in after]
        same = all(_same_scale(source, result) for result in results)
        if any(_name(model, reader) != "QUANTIZE" for reader in after) or not same:
            continue
        moved = graph.tensors[op.outputs[0]]
        moved.type, moved.quantization = source.type, source.quantization
        op.inputs[0] = before.inputs[0]
        for reader in after:
            _redirect(graph, reader.outputs[0], op.outputs[0])
            graph.operators.remove(reader)
    _remove_unread(model, graph)


def _read_integers(model: Any, graph: Any) -> None:
    """Let an ARG_MAX read what its DEQUANTIZE reads; a positive scale keeps the order."""
    for op in graph.operators:
        if _name(model, op) != "ARG_MAX":
            continue
        before = _producer(graph, op.inputs[0])
        if before is not None and _name(model, before) == "DEQUANTIZE":
            source = graph.tensors[before.inputs[0]]
            if source.type == schema.TensorType.INT8:  # the builtin has no kernel for int16
                op.inputs[0] = before.inputs[0]
    _remove_unread(model, graph)


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
    removed = True
    while removed:
        read = {int(index) for op in graph.operators for index in op.inputs} | {int(index) for index in graph.outputs}
        unread = [
            op
            for op in graph.operators
            if _name(model, op) in ("DEQUANTIZE", "QUANTIZE") and int(op.outputs[0]) not in read
        ]
        removed = bool(unread)
        for op in unread:
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


def _name(model: Any, op: Any) -> str:
    return str(flatbuffer_utils.opcode_to_name(model, op.opcodeIndex))
