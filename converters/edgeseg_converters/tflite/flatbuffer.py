"""Reading and writing TFLite flatbuffers as Python objects."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

# Larger vectors are weights; comparing those would cost more than it finds.
_MAX_SHARED = 65536


def read(data: bytes) -> Any:
    """The objects of a file: a ``ModelT`` of LiteRT's schema."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(data))


def write(model: Any) -> bytes:
    """The file of the objects, with equal small vectors stored once.

    A channel of a quantized convolution has 24 bytes of scales and zero points, its bias's included, and most of the
    zero points are vectors of zeros: stored once, a file of many small convolutions is a tenth smaller.
    """
    for buffer in model.buffers:
        if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
            # Of anything else the library writes one byte at a time: seconds for a megabyte.
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.shape is not None:
                tensor.shape = np.asarray(tensor.shape, np.int32)
            if (quantization := tensor.quantization) is not None and quantization.scale is not None:
                quantization.scale = np.asarray(quantization.scale, np.float32)
                quantization.zeroPoint = np.asarray(quantization.zeroPoint, np.int64)
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def op_name(model: Any, op: Any) -> str:
    """The op's name in TFLite's schema (``CONV_2D``); ``CUSTOM`` for custom ops."""
    return str(flatbuffer_utils.opcode_to_name(model, op.opcodeIndex))


def unread(graph: Any) -> list[int]:
    """Tensors that an op makes and nobody reads, such as a part of a SPLIT; a delegate has no memory for them."""
    read = {int(index) for op in graph.operators for index in op.inputs} | set(map(int, graph.outputs))
    return [int(index) for op in graph.operators for index in op.outputs if int(index) not in read]


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes a vector that it has written before as a reference to that one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802 - the base class's name
        if x.nbytes > _MAX_SHARED:
            return int(super().CreateNumpyVector(x))
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]
