"""Remove zero points that have no effect."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeseg_converters.onnx.passes.constants import array_of

_SIGNED = (np.int8, np.int32)


class DropZeroPoints(ir.passes.InPlacePass):
    """Omit the signed zero points of DequantizeLinear that are zero.

        Given:   y = DequantizeLinear(x, scale, 0)       x int8 or int32
        Result:  y = DequantizeLinear(x, scale)

    The quantizer writes one for every constant. It is 0 where it is omitted, and an omitted one means for int32 that
    there is none. An unsigned one stays: in QuantizeLinear it gives the type of the result, and DequantizeLinear reads
    the same one. ``RemoveUnusedNodesPass`` removes the constants themselves.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        modified = False
        for node in model.graph:
            if node.op_type == "DequantizeLinear" and len(node.inputs) == 3 and _is_signed_zero(node.inputs[2]):
                node.resize_inputs(2)
                modified = True
        return ir.passes.PassResult(model, modified)


def _is_signed_zero(value: ir.Value | None) -> bool:
    array = array_of(value)
    return array is not None and array.dtype in _SIGNED and not np.any(array)
