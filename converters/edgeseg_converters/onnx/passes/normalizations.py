"""Replace batch normalizations that are not part of a convolution: by one op in float, by a convolution in integers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.convenience import replace_nodes_and_values

from edgeseg_converters.onnx.passes.constants import add_constant, array_of, arrays_of


class JoinNormalizations(ir.passes.InPlacePass):
    """Turn ``x * scale + offset`` with a value for each channel into one BatchNormalization.

        Given:   y = Add(Mul(x, scale), offset)                      x (1, C, H, W), scale and offset (C, 1, 1)
        Result:  y = BatchNormalization(x, scale, offset, 0, 1)      epsilon 0

    A Mul without an Add is replaced too. With mean 0, variance 1 and epsilon 0 it computes the same two operations.

    A batch normalization after an activation is not part of a convolution and arrives as Mul and Add; as one
    BatchNormalization it stays in ONNX Runtime's blocked layout, which two elementwise ops leave.

    It reads shapes: ``InferShapes`` runs before it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        modified = False
        for mul in [node for node in model.graph if node.op_type == "Mul"]:
            scaled = _by_channel(mul)
            if scaled is None:
                continue
            x, scale = scaled
            offset, last = _added_offset(mul)
            if offset is None:
                offset = np.zeros_like(scale)
            parts = {"scale": scale, "offset": offset, "mean": np.zeros_like(scale), "variance": np.ones_like(scale)}
            result = last.outputs[0]
            constants = [add_constant(model.graph, f"{result.name}_{part}", array) for part, array in parts.items()]
            norm = ir.node("BatchNormalization", [x, *constants], {"epsilon": 0.0}, name=last.name)
            replaced = [mul] if last is mul else [mul, last]
            replace_nodes_and_values(model.graph, last, replaced, [norm], [result], norm.outputs)
            modified = True
        return ir.passes.PassResult(model, modified)


class NormalizationsToConvolutions(ir.passes.InPlacePass):
    """Turn each BatchNormalization into a 1x1 depthwise convolution, which has integer kernels and exact weights.

        Given:   y = BatchNormalization(x, gamma, beta, mean, variance)
        Result:  y = Conv(x, weight (C, 1, 1, 1), bias (C,), group=C)

    The only weight of a channel is its scale times the largest integer.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        norms = [node for node in model.graph if node.op_type == "BatchNormalization"]
        for norm in norms:
            x, result = norm.inputs[0], norm.outputs[0]
            gamma, beta, mean, variance = arrays_of(norm, 1, 5)
            weight = gamma / np.sqrt(variance + np.float32(norm.attributes.get_float("epsilon", 1e-5)))
            parts = {"weight": weight.reshape(-1, 1, 1, 1), "bias": beta - mean * weight}
            constants = [
                add_constant(model.graph, f"{result.name}_{part}", array.astype(np.float32))
                for part, array in parts.items()
            ]
            conv = ir.node("Conv", [x, *constants], {"group": len(weight)}, name=result.name)
            replace_nodes_and_values(model.graph, norm, [norm], [conv], [result], conv.outputs)
        return ir.passes.PassResult(model, bool(norms))


def _added_offset(mul: ir.Node) -> tuple[NDArray[np.float32] | None, ir.Node]:
    """Return what the only reader of a product adds to each channel, and that reader; ``None`` and the product."""
    product = mul.outputs[0]
    uses = product.uses()
    if len(uses) == 1 and not product.is_graph_output():
        (use,) = uses
        added = _by_channel(use.node) if use.node.op_type == "Add" else None
        if added is not None and added[0] is product:
            return added[1], use.node
    return None, mul


def _by_channel(node: ir.Node) -> tuple[ir.Value, NDArray[np.float32]] | None:
    """Return the other input and the constant ``(C,)`` of an op on ``(1, C, H, W)`` and one value for each channel."""
    for x, constant in (node.inputs, reversed(node.inputs)):
        array = array_of(constant)
        if array is None or x is None or x.const_value is not None or x.shape is None or len(x.shape) != 4:
            continue
        channels = x.shape[1]
        if array.dtype == np.float32 and array.shape[-3:] == (channels, 1, 1) and array.size == channels:
            return x, array.reshape(array.size)
    return None
