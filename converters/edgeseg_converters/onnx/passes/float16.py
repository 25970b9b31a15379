"""Convert to half precision by ONNX Runtime's tool."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgeseg_converters.onnx.file import ConsumingPass, to_proto


class ConvertToFloat16(ConsumingPass):
    """Convert weights and activations to float16; the input and the output keep their dtypes.

    The tool works on the protobuf. It appends its casts after the nodes that read them, which ``onnx.checker`` refuses,
    and in ONNX Runtime 1.20 to 1.24 it adds a cast of its own for each Min and Max that reads a tensor:
    ``TopologicalSortPass`` and ``CommonSubexpressionEliminationPass`` run after it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        proto = convert_float_to_float16(to_proto(model), keep_io_types=True)
        _drop_redefined_casts(proto.graph)
        return ir.passes.PassResult(ir.from_proto(proto), modified=True)


def _drop_redefined_casts(graph: onnx.GraphProto) -> None:
    """Keep the first of the casts whose results have the same name.

    ONNX Runtime 1.30 and 1.31 add one for each Min and Max that reads a tensor; 1.32 adds one for all. This works on
    the protobuf, as onnx-ir refuses to read a graph in which a name is defined twice.
    """
    defined: set[str] = set()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in defined:
            graph.node.remove(node)
        defined.update(node.output)
