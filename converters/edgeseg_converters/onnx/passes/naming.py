"""Set the names of nodes and values."""

from __future__ import annotations

import itertools
import re

import onnx_ir as ir

# The number by which tf2onnx tells equal names apart; what it adds to a graph has the output's number after it.
_COUNTED = re.compile(r"__\d+(:\d+)?$")


class NameNodesByOutput(ir.passes.InPlacePass):
    """Name each node like its first output, by which the quantizer is given the ops to keep in float."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        modified = False
        for node in model.graph:
            modified |= node.name != node.outputs[0].name
            node.name = node.outputs[0].name
        return ir.passes.PassResult(model, modified)


class RenumberNames(ir.passes.InPlacePass):
    """Renumber the names that tf2onnx numbered, in the order of the nodes, and sort the constants by their first use.

        Given:   Pad(x, block/pad_const__72), Pad(y, pad_const__29)
        Result:  Pad(x, pad_const__0), Pad(y, pad_const__1)

    tf2onnx counts in the order of sets, which differs between two runs of one program, and keeps the name of an
    arbitrary one of several equal constants. Without this pass two exports of a model are not the same bytes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        graph = model.graph
        used = dict.fromkeys(value for node in graph for value in node.inputs if value is not None and value.name)
        constants = [value for value in used if value.name in graph.initializers]
        constants += [value for value in graph.initializers.values() if value not in used]
        graph.initializers.clear()
        names = _Names({value.name or "" for value in (*graph.inputs, *graph.outputs)})
        # Of several equal constants tf2onnx kept an arbitrary one, so the scope in its name is arbitrary too.
        renamed = {value: names.counted(value.name, scope=False) for value in constants}
        renamed |= {value: names.counted(value.name, scope=True) for node in graph for value in node.outputs}
        for value in renamed:
            value.name = None  # a new name may be the old name of another value
        for value, name in renamed.items():
            value.name = name
        for value in constants:
            graph.register_initializer(value)
        for node in graph:
            node.name = names.counted(node.name, scope=True)
        return ir.passes.PassResult(model, modified=True)


class _Names:
    """New names for numbered ones; those of inputs and outputs, and names without a number, are kept."""

    def __init__(self, fixed: set[str]) -> None:
        self._fixed, self._count = fixed, itertools.count()

    def counted(self, name: str | None, *, scope: bool) -> str | None:
        if not name or name in self._fixed or not _COUNTED.search(name):
            return name
        base = _COUNTED.sub("", name)
        return f"{base if scope else base.rpartition('/')[2]}__{next(self._count)}"


class ShortenNames(ir.passes.InPlacePass):
    """Number the constants of a quantized graph, and name their dequantized values after them.

        Given:   x = DequantizeLinear(ConvAddFusion_Add_B_const_fold_opt__1754_quantized, ..._quantized_scale)
        Result:  c4_ = DequantizeLinear(c4, c5)

    The quantizer gives long names, which are written again at each use. Ops that compute keep their names, which the
    rescue and a profile report; QuantizeLinear and DequantizeLinear need none.
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
