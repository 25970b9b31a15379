"""Zero points that say nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeseg_converters.onnx.passes.constants import array_of

_SIGNED = (np.int8, np.int32)


class DropZeroPoints(ir.passes.InPlacePass):
    """Omit the signed zero points of DequantizeLinear that are zero.

        Given:   y = DequantizeLinear(x, scale, 0)       x int8 or int32
        Result:  y = DequantizeLinear(x, scale)

    The quantizer writes one for every constant. It is 0 where it is omitted, and for int32 this says that there is
    none. An unsigned one stays: in QuantizeLinear it says what type the result has, and DequantizeLinear reads the
    same. The constants themselves are left to ``RemoveUnusedNodesPass``.
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
