"""Ask XNNPACK, LiteRT's CPU delegate, on the installed wheel.

The interpreter lists the file's nodes and then one ``DELEGATE`` node for each partition, with the tensors that go in
and come out. The nodes inside follow from those: go back from the outputs to the inputs.
"""

from __future__ import annotations

from edgeseg.errors import InputError
from edgeseg.tflite.graph import Graph, Node
from edgeseg.tflite.litert_internals import op_details

#: The source of the sentences of ``reason``; that a node is not taken is the wheel's own answer.
REASONS_FROM = "reasons from google-ai-edge/LiteRT f674577, tflite/delegates/xnnpack/xnnpack_delegate.cc"

# Ops that the delegate's list lacks, of those a segmentation model may have.
_ABSENT = (
    "ARG_MAX ARG_MIN BATCH_TO_SPACE_ND BROADCAST_TO CAST EQUAL FILL GATHER GATHER_ND GREATER GREATER_EQUAL LESS "
    "LESS_EQUAL LOGICAL_AND LOGICAL_NOT LOGICAL_OR MIRROR_PAD NOT_EQUAL ONE_HOT PACK PADV2 POW RESIZE_NEAREST_NEIGHBOR "
    "REVERSE_V2 SCATTER_ND SELECT SELECT_V2 SHAPE SIGN SPACE_TO_BATCH_ND SQUEEZE TILE TOPK_V2 UNPACK"
).split()

_FLOAT_ONLY = "AVERAGE_POOL_2D DIV GELU HARD_SWISH MAXIMUM MINIMUM PRELU RELU RELU6 RELU_N1_TO_1 SOFTMAX".split()

_CONDITIONS = {
    "CONCATENATION": "XNNPACK takes a CONCATENATION of 2 to 5 inputs",
    "SPLIT": "XNNPACK takes a SPLIT into 2 to 4 outputs",
    "STRIDED_SLICE": "XNNPACK takes a STRIDED_SLICE whose strides are all 1",
    "RESIZE_BILINEAR": "XNNPACK takes a RESIZE_BILINEAR to a constant size, with one scale before and after",
    "CONV_2D": "XNNPACK takes a CONV_2D with a constant filter and a bias",
    "DEPTHWISE_CONV_2D": "XNNPACK takes a DEPTHWISE_CONV_2D whose filter is constant and of the input's type",
    "TRANSPOSE_CONV": "XNNPACK takes a TRANSPOSE_CONV with a constant filter and output shape",
    "MaxUnpooling2D": "XNNPACK takes a MaxUnpooling2D of float32 with VALID padding",
    "MaxPoolingWithArgmax2D": "XNNPACK takes a MaxPoolingWithArgmax2D of float32 whose window is its stride",
}


def ask(data: bytes, graph: Graph) -> tuple[set[int], int]:
    """Ask the installed wheel which nodes it gives to XNNPACK.

    Args:
        data: the ``.tflite`` file.
        graph: the parsed file.

    Returns:
        Indices of the nodes that it takes, and the number of partitions.

    Raises:
        InputError: the runtime does not open the model.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"LiteRT does not run the model, so it cannot be asked what it takes: {error}") from error
    delegates = [op for op in op_details(interpreter)[len(graph.nodes) :] if op["op_name"] == "DELEGATE"]
    producers = {tensor: node for node in graph.nodes for tensor in node.outputs}
    taken: set[int] = set()
    for delegate in delegates:
        entering = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            node = producers.get(tensor)
            if tensor in entering or node is None or node.index in taken:
                continue
            taken.add(node.index)
            waiting += node.inputs
    return taken, len(delegates)


def reason(graph: Graph, node: Node, runtime: str) -> str:
    """Return why XNNPACK does not take a node that the wheel has refused.

    Args:
        graph: the model.
        node: the node.
        runtime: name and version of the wheel, for a node that no sentence covers.
    """
    if node.op in _ABSENT:
        return f"XNNPACK has no {node.op}"
    if node.op in _FLOAT_ONLY and graph.tensors[node.outputs[0]].dtype != "FLOAT32":
        return f"XNNPACK takes {node.op} in float32, not {graph.tensors[node.outputs[0]].dtype.lower()}"
    if any(side < 0 for tensor in (*node.inputs, *node.outputs) for side in graph.tensors[tensor].shape):
        return "XNNPACK takes static shapes"
    return _CONDITIONS.get(node.op, f"the installed {runtime} does not give it to XNNPACK")
