"""Reads metadata out of a TFLite flatbuffer with numpy alone.

The schema package of ai-edge-litert would do it, but costs a quarter of a second to import and is not there with
``tflite-runtime``. Field numbers are those of the TFLite schema, version 3.
"""

from __future__ import annotations

import struct

_IDENTIFIER = b"TFL3"
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0


def is_tflite(data: bytes) -> bool:
    """Whether the bytes begin as a TFLite model does."""
    return data[4:8] == _IDENTIFIER


def read_metadata(data: bytes, name: str) -> bytes | None:
    """The content of a metadata entry.

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
        model = _uint32(data, 0)
        for entry in _tables(data, model, _MODEL_METADATA):
            if _string(data, entry, _METADATA_NAME) == name.encode():
                index_at = _field(data, entry, _METADATA_BUFFER)
                buffer = _tables(data, model, _MODEL_BUFFERS)[_uint32(data, index_at) if index_at else 0]
                return _string(data, buffer, _BUFFER_DATA)
    except (struct.error, IndexError) as error:
        raise ValueError("truncated TFLite model") from error
    return None


def _uint32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a table is: flatbuffers keeps 16-bit offsets in a vtable before the table."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    size = int(struct.unpack_from("<H", data, vtable)[0])
    slot = 4 + 2 * number
    offset = int(struct.unpack_from("<H", data, vtable + slot)[0]) if slot < size else 0
    return table + offset if offset else None


def _tables(data: bytes, table: int, number: int) -> list[int]:
    at = _field(data, table, number)
    if at is None:
        return []
    vector = at + _uint32(data, at)
    items = range(vector + 4, vector + 4 + 4 * _uint32(data, vector), 4)
    return [item + _uint32(data, item) for item in items]


def _string(data: bytes, table: int, number: int) -> bytes:
    at = _field(data, table, number)
    if at is None:
        return b""
    vector = at + _uint32(data, at)
    length = _uint32(data, vector)
    content = data[vector + 4 : vector + 4 + length]
    if len(content) != length:
        raise IndexError
    return content
