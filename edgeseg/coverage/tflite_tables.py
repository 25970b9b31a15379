"""Look up what delegates that cannot be asked here take of a TFLite model, from their sources, with dates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeseg.tflite.graph import Graph, Node


@dataclass(frozen=True)
class Table:
    """One delegate's rules.

    Attributes:
        note: what was read, at which commit or date, and what it does not cover.
        reason: why a node is not taken, ``None`` when it is taken.
        first_partition_only: whether everything after the first node that is not taken is not taken either.
    """

    note: str
    reason: Callable[[Graph, Node], str | None]
    first_partition_only: bool = False


# The newest version of each op that the delegate takes, for Android 11 (API 30) and later.
_NNAPI_VERSIONS = {
    1: "ABS CAST COS DIV ELU EXP EXPAND_DIMS FILL FLOOR LEAKY_RELU LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOG_SOFTMAX "
    "POW PRELU REDUCE_PROD RESHAPE SIN SQRT SQUEEZE SUM TILE",
    2: "ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_TO_SPACE_ND CONCATENATION DEQUANTIZE EQUAL GATHER GREATER "
    "GREATER_EQUAL LESS LESS_EQUAL LOGISTIC MAX_POOL_2D MEAN MUL NEG NOT_EQUAL PACK PAD PADV2 QUANTIZE REDUCE_ANY "
    "REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RSQRT SELECT SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT_V "
    "SQUARED_DIFFERENCE STRIDED_SLICE TANH TOPK_V2 TRANSPOSE UNPACK",
    3: "DEPTHWISE_CONV_2D MAXIMUM MINIMUM RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SPLIT SUB",
    4: "TRANSPOSE_CONV",
    5: "CONV_2D FULLY_CONNECTED",
    99: "DEPTH_TO_SPACE HARD_SWISH",  # any
}
_NNAPI = {op: version for version, ops in _NNAPI_VERSIONS.items() for op in ops.split()}
_NNAPI_RANK_4 = "ADD CONCATENATION DIV MEAN MUL RESHAPE SOFTMAX SQUARED_DIFFERENCE SUB".split()


def _nnapi(graph: Graph, node: Node) -> str | None:
    newest = _NNAPI.get(node.op)
    if newest is None:  # among others an op without input, such as VAR_HANDLE
        return f"NNAPI has no {node.op}"
    first, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if node.version > newest:
        return f"NNAPI takes {node.op} up to version {newest}, this is version {node.version}"
    if node.op == "ARG_MAX" and output.dtype != "INT32":
        return f"NNAPI takes an ARG_MAX to int32, not {output.dtype.lower()}"
    if node.op in _NNAPI_RANK_4 and max(len(first.shape), len(output.shape)) > 4:
        return f"NNAPI takes {node.op} of at most 4 dimensions, not {max(len(first.shape), len(output.shape))}"
    if node.op == "SELECT" and first.shape != graph.tensors[node.inputs[1]].shape:
        return "NNAPI takes a SELECT whose condition has the values' shape"
    if node.op == "CONV_2D" and len(node.inputs) != 3:
        return "NNAPI takes a CONV_2D with a bias"
    return None


_COREML = set(
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED HARD_SWISH LOGISTIC MAX_POOL_2D MEAN "
    "MIRROR_PAD MUL PAD PADV2 RELU RELU6 RELU_N1_TO_1 RESIZE_BILINEAR SOFTMAX TANH TRANSPOSE_CONV".split()
)
_COREML_NEWEST = {"DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 6}


def _coreml(graph: Graph, node: Node) -> str | None:
    if node.op == "RESHAPE":
        return "Core ML's delegate takes a RESHAPE only for Core ML 2, which is iOS 12"
    if node.op == "CONCATENATION" and node.option("axis") not in (-1, len(graph.tensors[node.outputs[0]].shape) - 1):
        return "Core ML's delegate takes a CONCATENATION of channels"
    if node.op not in _COREML:
        return f"Core ML's delegate has no {node.op}"
    newest = _COREML_NEWEST.get(node.op, 1)
    if node.version > newest:
        return f"Core ML's delegate takes {node.op} up to version {newest}, this is version {node.version}"
    if graph.tensors[node.outputs[0]].dtype != "FLOAT32":
        return f"Core ML's delegate takes float32, not {graph.tensors[node.outputs[0]].dtype.lower()}"
    unpacked = {n.outputs[0] for n in graph.nodes if graph.unpacks_weights(n)}
    if not unpacked.isdisjoint(node.inputs):
        return "its weights are half precision and go through a DEQUANTIZE, which Core ML's delegate has not"
    return None


_EDGETPU = set(
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC "
    "MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 "
    "RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUEEZE STRIDED_SLICE "
    "SUB TANH".split()
)


# Beyond the part of the table that was read.
_EDGETPU_OPEN = ("RSQRT", "SQUARED_DIFFERENCE", "SUM", "TRANSPOSE", "TRANSPOSE_CONV")


def _edgetpu(graph: Graph, node: Node) -> str | None:
    if node.op in _EDGETPU_OPEN:
        return f"whether Edge TPU takes {node.op} is not established; ask edgetpu_compiler"
    if node.op not in _EDGETPU:
        return f"Edge TPU's table has no {node.op}"
    dtype = graph.tensors[node.outputs[0]].dtype
    if dtype not in ("INT8", "UINT8"):
        return f"Edge TPU takes int8 and uint8, not {dtype.lower()}"
    if node.option("dilationWFactor") != node.option("dilationHFactor"):
        return f"Edge TPU takes a {node.op} with one dilation for x and y"
    return None


# Custom ops need an op package; every other op of a segmentation model has a builder.
_QNN_ABSENT = {
    "MaxPoolingWithArgmax2D": "QNN has no builder for the custom op",
    "MaxUnpooling2D": "QNN has no builder for the custom op",
    "MaxPoolWithArgmax": "QNN has no builder for the custom op",
}


def _qnn(graph: Graph, node: Node) -> str | None:
    return _QNN_ABSENT.get(node.op)


#: Accelerator to its table.
TABLES = {
    "nnapi": Table(
        "google-ai-edge/LiteRT 5c8a6d4, tflite/delegates/nnapi/nnapi_delegate.cc, read 2026-11-21, for Android 11 and "
        "later; the driver of a device may take less",
        _nnapi,
    ),
    "coreml": Table("google-ai-edge/LiteRT f674577, tflite/delegates/coreml/coreml_delegate.mm, read 2026-11", _coreml),
    "edgetpu": Table(
        "the Edge TPU compiler's table as developer.axis.com/computer-vision, ARTPEC-7, Supported ops, has it, read "
        "2026-11-21; a large RESIZE may be left too",
        _edgetpu,
        first_partition_only=True,
    ),
    "qnn": Table(
        "google-ai-edge/LiteRT f674577, litert/vendors/qualcomm/compiler/qnn_compose_graph.cc, read 2026-11; only "
        "what has no builder is left, limits of shape and type are not in the table",
        _qnn,
    ),
}
