"""Write TFLite flatbuffers with equal small vectors stored once."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from edgeseg_converters.tflite.litert_internals import schema

# Larger vectors are weights; comparing those would cost more than it finds.
_MAX_SHARED = 65536


def write(model: schema.ModelT) -> bytes:
    """Return the file of the objects, with equal small vectors stored once.

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


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Write a vector that has been written before as a reference to that one."""

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
