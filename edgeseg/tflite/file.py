"""Read metadata out of a TFLite flatbuffer with the standard library alone.

The schema package of ai-edge-litert would do it, but it takes a quarter of a second to import and is not there with
``tflite-runtime``. Field numbers are those of the TFLite schema, version 3.
"""

from __future__ import annotations

import struct

_IDENTIFIER = b"TFL3"
_MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA = 2, 4, 6
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_QUANTIZATION, _TENSOR_SHAPE_SIGNATURE = 0, 1, 3, 4, 7
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT = 2, 3
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0

#: numpy's name of a dtype by the number of a type in TFLite's ``TensorType``; what numpy does not have lacks.
DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 8: "complex64", 9: "int8",
    10: "float64", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip


def is_tflite(data: bytes) -> bool:
    """Return whether the bytes begin like a TFLite model."""
    return data[4:8] == _IDENTIFIER


def read_metadata(data: bytes, name: str) -> bytes | None:
    """Return the content of a metadata entry.

    Args:
        data: the whole ``.tflite`` file.
        name: name of the entry.

    Returns:
        Its bytes, ``None`` when there is no such entry.

    Raises:
        ValueError: the bytes are not a whole TFLite model.
    """
    if not is_tflite(data):
        raise ValueError("not a TFLite model")
    try:
        model = uint32(data, 0)
        for entry in tables(data, model, _MODEL_METADATA):
            if string(data, entry, _METADATA_NAME) == name.encode():
                index_at = field(data, entry, _METADATA_BUFFER)
                buffer = tables(data, model, _MODEL_BUFFERS)[uint32(data, index_at) if index_at else 0]
                return string(data, buffer, _BUFFER_DATA)
    except (struct.error, IndexError) as error:
        raise ValueError("truncated TFLite model") from error
    return None


def read_quantization(data: bytes, tensor: int) -> tuple[float, int]:
    """Return scale and zero point of a tensor of the first graph, as the interpreter reports them.

    Args:
        data: a whole ``.tflite`` file that a runtime has opened.
        tensor: its number.

    Returns:
        ``(0.0, 0)`` where the tensor is not quantized, or by channel.
    """
    graph = tables(data, uint32(data, 0), _MODEL_SUBGRAPHS)[0]
    quantization = child(data, tables(data, graph, _SUBGRAPH_TENSORS)[tensor], _TENSOR_QUANTIZATION)
    if quantization is None:
        return 0.0, 0
    scales = floats(data, quantization, _QUANTIZATION_SCALE)
    at = field(data, quantization, _QUANTIZATION_ZERO_POINT)
    if len(scales) != 1:
        return 0.0, 0
    return scales[0], int(struct.unpack_from("<q", data, at + uint32(data, at) + 4)[0]) if at is not None else 0


def input_numbers(data: bytes) -> tuple[int, ...]:
    """Return the numbers of the tensors that are the inputs of the first graph of a model that was verified."""
    return integers(data, tables(data, uint32(data, 0), _MODEL_SUBGRAPHS)[0], _SUBGRAPH_INPUTS)


def output_numbers(data: bytes) -> tuple[int, ...]:
    """Return the numbers of the tensors that are the outputs of the first graph of a model that was verified."""
    return integers(data, tables(data, uint32(data, 0), _MODEL_SUBGRAPHS)[0], _SUBGRAPH_OUTPUTS)


def read_tensor(data: bytes, tensor: int) -> tuple[str, tuple[int, ...], int]:
    """Return the name, the shape and the type of a tensor of the first graph.

    Args:
        data: a whole ``.tflite`` file that was verified.
        tensor: its number.

    Returns:
        The name, the shape with -1 for a side that is open other than the batch, and a number of TFLite's
        ``TensorType`` (``DTYPES``).
    """
    graph = tables(data, uint32(data, 0), _MODEL_SUBGRAPHS)[0]
    table = tables(data, graph, _SUBGRAPH_TENSORS)[tensor]
    shape, signature = (integers(data, table, number) for number in (_TENSOR_SHAPE, _TENSOR_SHAPE_SIGNATURE))
    at = field(data, table, _TENSOR_TYPE)
    kind = 0 if at is None else int(struct.unpack_from("<b", data, at)[0])
    if len(signature) == len(shape):
        shape = (*shape[:1], *signature[1:])
    return string(data, table, _TENSOR_NAME).decode(), shape, kind


def has_open_size(data: bytes) -> bool:
    """Return whether the first input of a model leaves a side open other than its batch.

    Args:
        data: a ``.tflite`` file; of one that is cut off a runtime says more.
    """
    try:
        graph = tables(data, uint32(data, 0), _MODEL_SUBGRAPHS)[0]
        first = integers(data, graph, _SUBGRAPH_INPUTS)[:1]
        tensors = tables(data, graph, _SUBGRAPH_TENSORS)
        return any(-1 in integers(data, tensors[index], _TENSOR_SHAPE_SIGNATURE)[1:] for index in first)
    except (struct.error, IndexError):
        return False


def child(data: bytes, table: int, number: int) -> int | None:
    """Return the position of the table that a field refers to; ``None`` where the field is not set."""
    at = field(data, table, number)
    return None if at is None else at + uint32(data, at)


def floats(data: bytes, table: int, number: int) -> tuple[float, ...]:
    """Return a field that is a vector of float32; empty where it is not set."""
    vector = child(data, table, number)
    return () if vector is None else struct.unpack_from(f"<{uint32(data, vector)}f", data, vector + 4)


def integers(data: bytes, table: int, number: int) -> tuple[int, ...]:
    """Return a field that is a vector of int32; empty where it is not set."""
    vector = child(data, table, number)
    return () if vector is None else struct.unpack_from(f"<{uint32(data, vector)}i", data, vector + 4)


def uint32(data: bytes, at: int) -> int:
    """Return the unsigned 32-bit number at a position."""
    return int(struct.unpack_from("<I", data, at)[0])


def field(data: bytes, table: int, number: int) -> int | None:
    """Return the position of a table's field: flatbuffers keeps 16-bit offsets in a vtable before the table."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    size = int(struct.unpack_from("<H", data, vtable)[0])
    slot = 4 + 2 * number
    offset = int(struct.unpack_from("<H", data, vtable + slot)[0]) if slot < size else 0
    return table + offset if offset else None


def tables(data: bytes, table: int, number: int) -> list[int]:
    """Return the positions of the tables of a field that is a vector of them; empty where it is not set."""
    at = field(data, table, number)
    if at is None:
        return []
    vector = at + uint32(data, at)
    items = range(vector + 4, vector + 4 + 4 * uint32(data, vector), 4)
    return [item + uint32(data, item) for item in items]


def string(data: bytes, table: int, number: int) -> bytes:
    """Return a field that is text or a vector of bytes; empty where it is not set."""
    at = field(data, table, number)
    if at is None:
        return b""
    vector = at + uint32(data, at)
    length = uint32(data, vector)
    content = data[vector + 4 : vector + 4 + length]
    if len(content) != length:
        raise IndexError
    return content
