"""Read an ``.mnn`` file without the runtime: verify what it is, and find the ModelSpec inside.

The file is a flatbuffer whose root is a ``Net``; field numbers are those of MNN 3.6's schema (schema/default/MNN.fbs,
GpuLibrary.fbs). It has no identifier of its own: what is no model is told by its list of ops. The ModelSpec is the
text that the schema calls ``bizCode``, which the runtime does not read.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from pathlib import Path

from edgeseg._internal.limits.models import ModelFile, named_bytes
from edgeseg.errors import InputError
from edgeseg.runtime.artifact import parse_spec
from edgeseg.spec import ModelSpec

# A flatbuffer is read in the same way whatever its schema is.
from edgeseg.tflite.file import child, field, string, tables, uint32

_NET_BIZ_CODE, _NET_OPS, _NET_TENSOR_NAMES, _NET_UUID = 0, 3, 7, 11
_OP_INPUTS, _OP_NAME, _OP_OUTPUTS, _OP_TYPE = 0, 3, 4, 5
_MOST_OPS = 1 << 20
_CONSTANT, _INPUT = 11, 34
# What the models of the zoo are made of, by their numbers in MNN's ``OpType``.
_NAMES = {
    2: "ArgMax", 7: "BinaryOp", 9: "Cast", 10: "Concat", 12: "Convolution", 13: "ConvolutionDepthwise", 17:
    "Deconvolution", 18: "DeconvolutionDepthwise", 22: "Eltwise", 31: "GatherV2", 35: "Interp", 39: "MatMul", 45:
    "Padding", 46: "Permute", 47: "Pooling", 68: "Reduction", 69: "ReLU", 70: "ReLU6", 73: "Reshape", 77: "Scale",
    81: "Sigmoid", 83: "Slice", 84: "SliceTf", 85: "Softmax", 88: "Split", 90: "Squeeze", 91: "StridedSlice", 95:
    "TanH", 98: "Tile", 99: "TopKV2", 100: "Transpose", 101: "UnaryOp", 106: "BatchMatMul", 107: "Unsqueeze", 109:
    "DepthToSpace", 110: "SpaceToDepth", 128: "Raster", 129: "ConvertTensor",
}  # fmt: skip
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _Damaged(ValueError):
    """Bytes that are no MNN model; the text goes after the file's name."""


def read_mnn(model: str | Path | bytes | ModelFile) -> tuple[str, bytes, ModelSpec | None]:
    """Read an MNN model and the spec inside.

    Args:
        model: an ``.mnn`` file, or its bytes.

    Returns:
        What it is called at the start of a sentence, the whole file, and its ModelSpec; ``None`` where it has none.

    Raises:
        InputError: the file cannot be read, is damaged, empty or no MNN model, or its spec cannot be read.
    """
    what, data = named_bytes(model)
    try:
        text = _verified(data)
    except _Damaged as error:
        raise InputError(f"{what} does not open: {error}.") from error
    # A text that is no ModelSpec is another tool's: `bizCode` is free to use, and empty by default.
    return what, data, parse_spec(what, text) if text.startswith(b"{") else None


def uuid_place(data: bytes) -> slice | None:
    """Return where the random number is that MNN's converter gives each file; ``None`` where it has none.

    Args:
        data: a whole ``.mnn`` file that was verified.
    """
    start = child(data, uint32(data, 0), _NET_UUID)
    if start is None or not _UUID.fullmatch(string(data, uint32(data, 0), _NET_UUID)):
        return None
    return slice(start + 4, start + 4 + uint32(data, start))


def _verified(data: bytes) -> bytes:
    """Check the tables that the runtime follows first, and return the text of ``bizCode``."""
    if not data:
        raise _Damaged("the file is empty")
    try:
        net = uint32(data, 0)
        ops = _tables(data, net, _NET_OPS)
        names = _tables(data, net, _NET_TENSOR_NAMES)
        if not ops or not names:
            raise _Damaged("no MNN model: it has no ops")
        most = len(data)  # bytes that are read here: ops that share a vector or a name read it once each
        for op in ops:
            for side in (_OP_INPUTS, _OP_OUTPUTS):
                indices = _indices(data, op, side, most // 4)
                most -= 4 * len(indices)
                if max(indices, default=0) >= len(names):
                    raise _Damaged("an op names a tensor that is not there")
            name = child(data, op, _OP_NAME)
            most -= 0 if name is None else uint32(data, name)
            if most < 0:
                raise IndexError
            string(data, op, _OP_NAME).decode()
        return string(data, net, _NET_BIZ_CODE)
    except (struct.error, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise _Damaged("truncated or no MNN model") from error


def _tables(data: bytes, table: int, number: int) -> list[int]:
    vector = child(data, table, number)
    if vector is not None and uint32(data, vector) > min(_MOST_OPS, len(data) // 4):
        raise IndexError
    return tables(data, table, number)


def _indices(data: bytes, table: int, number: int, most: int) -> tuple[int, ...]:
    """Return a field that is a vector of int32; raise ``IndexError`` where it has more than ``most``."""
    vector = child(data, table, number)
    if vector is None:
        return ()
    count = uint32(data, vector)
    if count > most:
        raise IndexError
    return struct.unpack_from(f"<{count}i", data, vector + 4)


def count_ops(data: bytes) -> dict[str, int]:
    """Return the name of each op and how often it is used, the most frequent one first; without constants.

    Args:
        data: a whole ``.mnn`` file that was verified.
    """
    kinds = []
    for op in _tables(data, uint32(data, 0), _NET_OPS):
        at = field(data, op, _OP_TYPE)
        kinds.append(0 if at is None else int(struct.unpack_from("<i", data, at)[0]))
    counts = Counter(kind for kind in kinds if kind not in (_CONSTANT, _INPUT))
    return {_NAMES.get(kind, f"op {kind}"): count for kind, count in counts.most_common()}
