"""Infer the shapes of tensors for the passes that need them, and keep them out of the file."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass


class InferShapes(ir.passes.InPlacePass):
    """Infer the shape and the type of every value, as ``onnx.shape_inference`` does by default.

    As in onnx-ir's own pass, constants beyond 1 KB are not passed on: only their shape matters, and there may be a
    gigabyte of them. That pass puts them back after the others; here the constants keep their order.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        constants = list(model.graph.initializers.values())
        result = ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)
        model.graph.initializers.clear()
        for value in constants:
            model.graph.initializers.add(value)
        return result


class DropShapes(ir.passes.InPlacePass):
    """Remove the shapes and the types of all values but the inputs and outputs: every runtime infers them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        inner = [value for node in model.graph for value in node.outputs if not value.is_graph_output()]
        modified = any(value.shape is not None or value.type is not None for value in inner)
        for value in inner:
            value.shape = value.type = None
        return ir.passes.PassResult(model, modified)
