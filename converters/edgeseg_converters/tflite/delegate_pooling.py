"""Create the two custom ops that LiteRT's delegates have for pooling with indices, in a flatbuffer.

TensorFlow's converter passes MaxPoolWithArgmax and MaxPoolGradWithArgmax on as custom ops of those names, with its own
indices. XNNPACK and the GPU accelerator have the same two ops under other names, which the runtime registers:

===================== ====================== ============= ==================================
TensorFlow            delegates              inputs        outputs
===================== ====================== ============= ==================================
MaxPoolWithArgmax     MaxPoolingWithArgmax2D map           pooled map, index declared float32
MaxPoolGradWithArgmax MaxUnpooling2D         values, index map
===================== ====================== ============= ==================================

Each delegate has its own numbering of the index, so both ops must run on the same delegate, and no other op may read
the index. XNNPACK claims a node whose index is declared int32 and then fails. Read in google-ai-edge/LiteRT f674577.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgeseg_converters.keras_model.unsupported_ops import ForeignOps
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

#: The message about ops that TFLite has no builtin for.
NO_BUILTIN = "the model does not convert to TFLite. TFLite has no builtin for"

POOL, UNPOOL = "MaxPoolingWithArgmax2D", "MaxUnpooling2D"
_FROM_TENSORFLOW = {"MaxPoolWithArgmax": POOL, "MaxPoolGradWithArgmax": UNPOOL}

# TfLitePoolParams: padding (2 is VALID), stride width and height, filter width and height, activation, and four
# numbers that only the kernels of a delegate write.
_OPTIONS = np.frombuffer(struct.pack("<10i", 2, 2, 2, 2, 2, 0, 0, 0, 0, 0), np.uint8)


def in_use(frozen: Any) -> bool:
    """Return whether a frozen function has an unpooling that must become a custom op."""
    return any(op.type == "MaxPoolGradWithArgmax" for op in frozen.graph.get_operations())


def put_in(graph: TfliteGraph) -> None:
    """Replace TensorFlow's ops by those of the delegates, in place.

    Args:
        graph: of a conversion with custom ops allowed.

    Raises:
        ForeignOps: there is another custom op, or something else reads an index.
    """
    custom = [code for code in graph.model.operatorCodes if code.customCode]
    if foreign := sorted({code.customCode.decode() for code in custom} - _FROM_TENSORFLOW.keys()):
        raise ForeignOps(NO_BUILTIN, foreign)
    pools = [op for op in graph.operators if graph.op_name(op) == "MaxPoolWithArgmax"]
    unpools = [op for op in graph.operators if graph.op_name(op) == "MaxPoolGradWithArgmax"]
    indices = {int(op.outputs[1]) for op in pools}
    for op in unpools:
        graph.rewire(op, inputs=op.inputs[1:])  # the first is the source, which TensorFlow reads for its shape
    readers = {graph.op_name(reader) for index in indices for reader in graph.readers(index)}
    read_by_others = readers - {"MaxPoolGradWithArgmax"} or indices & set(graph.outputs)
    if read_by_others or indices != {int(op.inputs[1]) for op in unpools}:
        raise ForeignOps(NO_BUILTIN, ["MaxPoolWithArgmax"])
    for index in indices:
        graph.tensors[index].type = schema.TensorType.FLOAT32
    for op in (*pools, *unpools):
        op.customOptions = _OPTIONS
    for code in custom:
        code.customCode = _FROM_TENSORFLOW[code.customCode.decode()].encode()
