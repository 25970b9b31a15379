"""Make the two custom ops that LiteRT's delegates have for pooling with indices, in a flatbuffer.

TensorFlow's converter passes MaxPoolWithArgmax and MaxPoolGradWithArgmax on as custom ops of those names, with indices
of its own. XNNPACK and the GPU accelerator have the same two ops under other names, which the runtime registers:

===================== ====================== ============= ==================================
TensorFlow            delegates              inputs        outputs
===================== ====================== ============= ==================================
MaxPoolWithArgmax     MaxPoolingWithArgmax2D map           pooled map, index declared float32
MaxPoolGradWithArgmax MaxUnpooling2D         values, index map
===================== ====================== ============= ==================================

Each delegate has a numbering of its own for the index, so both ops must run on one; no other op may read it. XNNPACK
claims a node whose index is declared int32 and then fails. Read in google-ai-edge/LiteRT f674577.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgeseg_converters.keras_model.unsupported_ops import ForeignOps
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

#: What is said of ops that TFLite's builtins do not have.
NO_BUILTIN = "the model does not convert to TFLite. TFLite has no builtin for"

POOL, UNPOOL = "MaxPoolingWithArgmax2D", "MaxUnpooling2D"
_FROM_TENSORFLOW = {"MaxPoolWithArgmax": POOL, "MaxPoolGradWithArgmax": UNPOOL}

# TfLitePoolParams: padding (2 is VALID), stride width and height, filter width and height, activation, and four
# numbers that only the kernels of a delegate write.
_OPTIONS = np.frombuffer(struct.pack("<10i", 2, 2, 2, 2, 2, 0, 0, 0, 0, 0), np.uint8)


def in_use(frozen: Any) -> bool:
    """Return whether a frozen function has an unpooling that is to become a custom op."""
    return any(op.type == "MaxPoolGradWithArgmax" for op in frozen.graph.get_operations())


def put_in(graph: TfliteGraph) -> None:
    """Make the delegates' ops of TensorFlow's, in place.

    Args:
        graph: of a conversion with custom ops allowed.

    Raises:
        ForeignOps: there is another custom op, or an index that something else reads.
    """
    custom = [code for code in graph.model.operatorCodes if code.customCode]
    if foreign := sorted({code.customCode.decode() for code in custom} - _FROM_TENSORFLOW.keys()):
        raise ForeignOps(NO_BUILTIN, foreign)
    pools = [op for op in graph.operators if graph.op_name(op) == "MaxPoolWithArgmax"]
    unpools = [op for op in graph.operators if graph.op_name(op) == "MaxPoolGradWithArgmax"]
    indices = {int(op.outputs[1]) for op in pools}
    for op in unpools:
        graph.rewire(op, inputs=op.inputs[1:])  # of the first, the source, TensorFlow wants the shape
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
