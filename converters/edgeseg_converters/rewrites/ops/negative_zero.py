"""Remove the comparison for -0.0 that ``keras.ops.argmax`` and ``argmin`` make on the TensorFlow backend.

    Given:   y = Select(x == 0 and signbit(x), -1.2e-38, x)     signbit by Bitcast and BitwiseAnd
    Result:  y = x

Keras makes -0.0 smaller than 0.0, for JAX's sake; no converter has the ops on the bits of a float. The values are the
same but for the smallest normal float32, so only the order of -0.0 and 0.0 is lost: where both are the largest, the
first of the two is taken, as ``tf.argmax``, TFLite and ONNX do for all equal values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace

_TINY = float(np.finfo(np.float32).tiny)


class NegativeZeroToZero(OpRewrite):
    """See the module."""

    types = ("SelectV2", "Select")
    atol = _TINY  # what -0.0 became

    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Match a choice between a map and a constant that is not 0 and too small to be a value."""
        condition, chosen, x = op.inputs
        if trace.is_constant(condition) or not trace.is_constant(chosen) or not chosen.dtype.is_floating:
            return None
        value = trace.array(chosen)
        if value.size != 1 or not 0 < abs(float(value.item())) <= _TINY:
            return None
        return OpSite(op, (x,), (op.outputs[0],))

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Pass the map on."""
        return [tf.identity(inputs[0])]
