"""Give a graph that was quantized with a float input an input of bytes."""

from __future__ import annotations

import onnx_ir as ir

from edgeseg_converters.onnx.passes.constants import arrays_of


class TakeBytes(ir.passes.InPlacePass):
    """Make the input uint8: remove its quantization to scale 1 and zero point 0, and add a Cast for float readers."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        graph, image = model.graph, model.graph.inputs[0]
        image.type = ir.TensorType(ir.DataType.UINT8)
        quantizers = [use.node for use in image.uses() if _keeps_bytes(use.node)]
        in_float = [use for use in image.uses() if use.node not in quantizers]
        for node in quantizers:
            node.outputs[0].replace_all_uses_with(image)
            graph.remove(node, safe=True)
        if in_float:
            as_float = ir.Value(name=f"{image.name}_float")
            for node, index in in_float:
                node.replace_input_with(index, as_float)
            cast = ir.node("Cast", [image], {"to": ir.DataType.FLOAT.value}, outputs=[as_float], name="")
            graph.insert_before(graph[0], cast)
        return ir.passes.PassResult(model, modified=True)


def _keeps_bytes(node: ir.Node) -> bool:
    """Return whether a node quantizes to uint8 by scale 1 and zero point 0."""
    if node.op_type != "QuantizeLinear":
        return False
    scale, zero_point = arrays_of(node, 1, 3)
    return bool(scale == 1 and zero_point == 0 and zero_point.dtype == "uint8")
