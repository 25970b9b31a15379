"""Names of nodes and values."""

from __future__ import annotations

import onnx_ir as ir


class NameNodesByOutput(ir.passes.InPlacePass):
    """Call each node what its first output is called, by which the quantizer is told what to keep in float."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        modified = False
        for node in model.graph:
            modified |= node.name != node.outputs[0].name
            node.name = node.outputs[0].name
        return ir.passes.PassResult(model, modified)


class ShortenNames(ir.passes.InPlacePass):
    """Number the constants of a quantized graph; what dequantizes one is called after it.

        Given:   x = DequantizeLinear(ConvAddFusion_Add_B_const_fold_opt__1754_quantized, ..._quantized_scale)
        Result:  c4_ = DequantizeLinear(c4, c5)

    The quantizer gives long names, which are written again at each use. Ops that compute keep theirs, which the rescue
    and a profile tell; QuantizeLinear and DequantizeLinear need none.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        prefix = _unused_prefix(model.graph)
        numbered = set()
        for index, value in enumerate(list(model.graph.initializers.values())):
            if not (value.is_graph_input() or value.is_graph_output()):
                value.name = f"{prefix}{index}"
                numbered.add(value)
        for node in model.graph:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                node.name = ""
                source, result = node.inputs[0], node.outputs[0]
                if source in numbered and not result.is_graph_output():
                    result.name = f"{source.name}_"
        return ir.passes.PassResult(model, modified=True)


def _unused_prefix(graph: ir.Graph) -> str:
    nodes = list(graph.all_nodes())  # also those of subgraphs, whose names hide those of this graph
    names = {value.name for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}
    prefix = "c"
    while any(name.startswith(prefix) for name in names if name):
        prefix += "_"
    return prefix
