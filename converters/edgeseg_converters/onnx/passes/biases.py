"""Replace biases of convolutions that are not constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeseg_converters.onnx.passes.constants import add_constant


class AddComputedBiases(ir.passes.InPlacePass):
    """Add the bias after the convolution wherever it is not a constant.

        Given:   y = Conv(x, weight, bias)                            bias (C,) is computed
        Result:  y = Add(Conv(x, weight), Unsqueeze(bias, [1, 2]))

    tf2onnx turns a map of one pixel that is added, such as DeepLab's image pooling, into the bias of the convolution
    before. Integer kernels and most providers need constants there.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        convolutions = [node for node in model.graph if node.op_type == "Conv" and _has_computed_bias(node)]
        for node in convolutions:
            bias, linear = node.inputs[2], node.outputs[0]
            node.resize_inputs(2)
            result = ir.Value(name=linear.name, shape=linear.shape, type=linear.type)
            linear.replace_all_uses_with(result, replace_graph_outputs=True)
            linear.name = f"{result.name}_linear"
            axes = add_constant(model.graph, f"{result.name}_axes", np.array([1, 2], np.int64))
            column = ir.Value(name=f"{result.name}_column")
            unsqueeze = ir.node("Unsqueeze", [bias, axes], outputs=[column], name=column.name)
            add = ir.node("Add", [linear, column], outputs=[result], name=f"{result.name}_add")
            model.graph.insert_after(node, [unsqueeze, add])
        return ir.passes.PassResult(model, bool(convolutions))


def _has_computed_bias(node: ir.Node) -> bool:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return bias is not None and bias.const_value is None
