"""Replace products of int8 matrices, which Keras' ``model.quantize("int8")`` makes, by products in float32.

    Given:   y = MatMul(a, b)                            a and b int8, y int32
    Result:  y = int32(MatMul(float32(a), float32(b)))

TFLite has integers only with a scale of their own. A sum of up to 1040 products of bytes is below 2**24, so float32 has
it exactly; a longer one is rounded as Keras' next op rounds it, a cast to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace


class IntegerProductToFloat(OpRewrite):
    """See the module."""

    types = ("BatchMatMulV3", "Einsum")
    atol = 1.0  # of sums beyond 2**24, whose neighbors in float32 are 2 apart

    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Match a product of two int8 matrices."""
        if any(tensor.dtype != tf.int8 for tensor in op.inputs) or op.outputs[0].dtype != tf.int32:
            return None
        return OpSite(op, tuple(trace.moving(op)), (op.outputs[0],))

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build the same product of float32 matrices; constant ones stay constants."""
        op, given = site.op, iter(inputs)
        a, b = (
            tf.constant(trace.array(tensor).astype(np.float32))
            if trace.is_constant(tensor)
            else tf.cast(next(given), tf.float32)
            for tensor in op.inputs
        )
        if op.type == "Einsum":
            product = tf.raw_ops.Einsum(inputs=[a, b], equation=op.get_attr("equation").decode())
        else:
            product = tf.matmul(a, b, adjoint_a=op.get_attr("adj_x"), adjoint_b=op.get_attr("adj_y"))
        return [tf.cast(product, tf.int32)]
