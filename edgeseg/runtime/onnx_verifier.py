"""Verify an ``.onnx`` file before ONNX Runtime reads it: its structure, the size of its tensors, and files beside it.

Reads protobuf by itself: a device has ONNX Runtime and not the package ``onnx``. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeseg._internal.limits.models import MEMORY_VARIABLE, max_model_memory

_VARINT, _BITS_64, _BYTES, _BITS_32 = 0, 1, 2, 5
_MOST_NESTED = 32  # graphs in attributes of nodes; protobuf itself stops at 100 messages

_GRAPH, _FUNCTIONS = 7, 25
_NODES, _INITIALIZERS, _INPUTS, _OUTPUTS, _SPARSE = 1, 5, 11, 12, 15
_FUNCTION_NODES = 7
_ATTRIBUTES = 5
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS = 5, 6, 10, 11
_DIMS, _TYPE, _NAME, _EXTERNAL_DATA, _LOCATION = 1, 2, 8, 13, 14

# Bytes of an element, by the number of a type in ``TensorProto.DataType``; text and halves of a byte count as 1.
_WIDTHS = {1: 4, 4: 2, 5: 2, 6: 4, 7: 8, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2}


class Damaged(ValueError):
    """A file that is not what an ONNX file can be; the text goes after its name."""


def verify(data: bytes, folder: Path | None = None) -> None:
    """Check a whole file; the time grows with the number of its nodes and not with its weights.

    Args:
        data: a whole ``.onnx`` file.
        folder: where the files with its weights may be, if it has some; ``None`` where it is in memory.

    Raises:
        Damaged: it is none, or it is damaged; the text says what. Or a file with its weights is outside the folder, is
            missing, or is larger than a model may be.
        InputError: the environment variable of the limit is no number.
    """
    external: set[str] = set()
    graphs = 0
    if data[4:8] == b"ORTM":
        raise Damaged("a model in ONNX Runtime's own format, not ONNX")
    for number, wire, start, end in _fields(data, 0, len(data)):
        if number == _GRAPH and wire == _BYTES:
            graphs += 1
            _graph(data, start, end, external, 0)
        elif number == _FUNCTIONS and wire == _BYTES:
            for inner, kind, node, node_end in _fields(data, start, end):
                if inner == _FUNCTION_NODES and kind == _BYTES:
                    _node(data, node, node_end, external, 1)
    if not graphs:
        raise Damaged("no ONNX model: it has no graph")
    for name in sorted(external):
        _require_inside(name, folder)


def _require_inside(name: str, folder: Path | None) -> None:
    if folder is None:
        raise Damaged(f"it keeps its weights in another file, '{name}', and is in memory")
    folder = folder.resolve()
    if "\0" in name or not name or not (folder / name).resolve().is_relative_to(folder):
        raise Damaged(f"it keeps its weights in '{name}', outside its own folder, where edgeseg reads nothing")
    try:
        about = (folder / name).stat()
    except OSError as error:
        raise Damaged(f"it keeps its weights in '{name}', which cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(about.st_mode) or about.st_size > max_model_memory() << 20:
        raise Damaged(
            f"it keeps its weights in '{name}', which is no file of at most {max_model_memory()} MiB; "
            f"{MEMORY_VARIABLE} sets another limit"
        )


def _graph(data: bytes, start: int, end: int, external: set[str], depth: int) -> None:
    if depth > _MOST_NESTED:
        raise Damaged(f"its graphs are nested more than {_MOST_NESTED} times")
    inputs = outputs = 0
    for number, wire, begin, stop in _fields(data, start, end):
        if wire != _BYTES:
            continue
        if number == _NODES:
            _node(data, begin, stop, external, depth)
        elif number == _INITIALIZERS:
            _tensor(data, begin, stop, external)
        elif number == _SPARSE:
            for inner, kind, tensor, tensor_end in _fields(data, begin, stop):
                if inner in (1, 2) and kind == _BYTES:
                    _tensor(data, tensor, tensor_end, external)
        inputs += number == _INPUTS
        outputs += number == _OUTPUTS
    if not depth and not (inputs and outputs):
        raise Damaged("its graph has no input or no output")


def _node(data: bytes, start: int, end: int, external: set[str], depth: int) -> None:
    for number, kind, begin, stop in _fields(data, start, end):
        if number != _ATTRIBUTES or kind != _BYTES:
            continue
        for inner, wire, value, value_end in _fields(data, begin, stop):
            if inner in (_TENSOR, _TENSORS) and wire == _BYTES:
                _tensor(data, value, value_end, external)
            elif inner in (_SUBGRAPH, _SUBGRAPHS) and wire == _BYTES:
                _graph(data, value, value_end, external, depth + 1)


def _tensor(data: bytes, start: int, end: int, external: set[str]) -> None:
    dims: list[int] = []
    kind, location, name, outside = 0, "", "", False
    for number, wire, begin, stop in _fields(data, start, end):
        if number == _DIMS and wire == _BYTES:  # packed
            while begin < stop:
                value, begin = _varint(data, begin, stop)
                dims.append(value)
        elif number == _DIMS and wire == _VARINT:
            dims.append(begin)
        elif number == _TYPE and wire == _VARINT:
            kind = begin
        elif number == _NAME and wire == _BYTES:
            name = _text(data, begin, stop)
        elif number == _LOCATION and wire == _VARINT:
            outside = begin == 1
        elif number == _EXTERNAL_DATA and wire == _BYTES:
            entry = {
                inner: _text(data, place, place_end)
                for inner, inner_wire, place, place_end in _fields(data, begin, stop)
                if inner_wire == _BYTES
            }
            if entry.get(1) == "location":
                location = entry.get(2, "")
    if any(side >= 1 << 63 for side in dims):
        raise Damaged(f"its tensor '{name[:100]}' has a negative side")
    size = math.prod(dims) * _WIDTHS.get(kind, 1)
    if size > max_model_memory() << 20:
        raise Damaged(
            f"its tensor '{name[:100]}' of shape {tuple(dims)} has {size} bytes, more than {max_model_memory()} MiB; "
            f"{MEMORY_VARIABLE} sets another limit"
        )
    if outside or location:
        external.add(location)


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: number, wire type, and where the bytes begin and end; of a varint its value."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value, at
            continue
        if wire == _BYTES:
            length, at = _varint(data, at, end)
        elif wire in (_BITS_64, _BITS_32):
            length = 8 if wire == _BITS_64 else 4
        else:  # groups, which onnx.proto does not have
            raise Damaged("truncated or no ONNX model")
        if not number or length > end - at:
            raise Damaged("truncated or no ONNX model")
        yield number, wire, at, at + length
        at += length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7
    raise Damaged("truncated or no ONNX model")


def _text(data: bytes, begin: int, stop: int) -> str:
    try:
        return data[begin:stop].decode()
    except UnicodeDecodeError as error:
        raise Damaged("it has a name that is no UTF-8") from error
