"""The two custom ops that LiteRT's delegates have for pooling with indices, in a flatbuffer.

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
from ai_edge_litert import schema_py_generated as schema

from edgeseg_converters.keras_model.unsupported_ops import ForeignOps

#: What is said of ops that TFLite's builtins do not have.
NO_BUILTIN = "the model does not convert to TFLite. TFLite has no builtin for"

POOL, UNPOOL = "MaxPoolingWithArgmax2D", "MaxUnpooling2D"
_FROM_TENSORFLOW = {"MaxPoolWithArgmax": POOL, "MaxPoolGradWithArgmax": UNPOOL}

# TfLitePoolParams: padding (2 is VALID), stride width and height, filter width and height, activation, and four
# numbers that only the kernels of a delegate write.
_OPTIONS = np.frombuffer(struct.pack("<10i", 2, 2, 2, 2, 2, 0, 0, 0, 0, 0), np.uint8)


def in_use(frozen: Any) -> bool:
    """Whether a frozen function has an unpooling that is to become a custom op."""
    return any(op.type == "MaxPoolGradWithArgmax" for op in frozen.graph.get_operations())


def put_in(model: Any) -> None:
    """Make the delegates' ops of TensorFlow's, in place.

    Args:
        model: the unpacked flatbuffer of a conversion with custom ops allowed.

    Raises:
        ForeignOps: there is another custom op, or an index that something else reads.
    """
    graph = model.subgraphs[0]
    names = [(code.customCode or b"").decode() for code in model.operatorCodes]
    if foreign := sorted({name for name in names if name and name not in _FROM_TENSORFLOW}):
        raise ForeignOps(NO_BUILTIN, foreign)
    pools = [op for op in graph.operators if names[op.opcodeIndex] == "MaxPoolWithArgmax"]
    unpools = [op for op in graph.operators if names[op.opcodeIndex] == "MaxPoolGradWithArgmax"]
    indices = {int(op.outputs[1]) for op in pools}
    for op in unpools:
        op.inputs = op.inputs[1:]  # of the first, the source, TensorFlow wants the shape
    read = {int(tensor) for op in graph.operators if op not in unpools for tensor in op.inputs} | set(graph.outputs)
    if indices & read or indices != {int(op.inputs[1]) for op in unpools}:
        raise ForeignOps(NO_BUILTIN, ["MaxPoolWithArgmax"])
    for index in indices:
        graph.tensors[index].type = schema.TensorType.FLOAT32
    for op in (*pools, *unpools):
        op.customOptions = _OPTIONS
    for code, name in zip(model.operatorCodes, names, strict=True):
        if name:
            code.customCode = _FROM_TENSORFLOW[name].encode()
