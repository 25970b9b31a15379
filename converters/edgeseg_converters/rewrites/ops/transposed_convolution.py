"""Replace transposed convolutions that a converter gets wrong or a CPU does not run.

    Given:   y = Conv2DTranspose(k, stride s)(x)                  y longer than (h - 1) s + k
    Result:  y = Conv2DTranspose(k', stride s)(x)                 k' = H - (h - 1) s, the kernel with zeros after it

tf2onnx writes negative padding for a kernel smaller than its stride and for "valid" with output padding. The zeros
reach the pixels that the kernel leaves at 0, so the same op gives all of y. Exact up to the order of the sum.

    Given:   y = Conv2DTranspose(k, dilation d)(x)                stride 1, as Keras demands
    Result:  y = Conv2D(k, dilation d)(pad(x))                    the kernel turned by 180 degrees, its channels swapped

At stride 1 the two are the same sum. No TFLite kernel, and no kernel of TensorFlow on a CPU, dilates a transposed
convolution; all dilate a convolution. The proof runs the old op by XLA, which does. Exact up to the order of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseg.errors import RewriteRefused
from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace

_ROWS, _COLUMNS = 1, 2


class _TransposedConvolution(OpRewrite):
    types = ("Conv2DBackpropInput",)

    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Match an op with channels last; its kernel must be constant."""
        if op.get_attr("data_format") != b"NHWC" or not self.applies(op):
            return None
        if not trace.is_constant(op.inputs[1]):
            raise RewriteRefused("the kernel of the transposed convolution depends on the image")
        return OpSite(op, (op.inputs[2],), (op.outputs[0],))

    def applies(self, op: tf.Operation) -> bool:
        """Return whether the op is one to replace."""
        raise NotImplementedError


class ShortKernelToPadded(_TransposedConvolution):
    """See the module: the first replacement."""

    atol = 1e-4  # C products of values below 4 for each tap, summed in another order

    def applies(self, op: tf.Operation) -> bool:
        """Return whether the kernel does not reach all of the output."""
        return any(_missing(op, axis) > 0 for axis in (_ROWS, _COLUMNS))

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build the same op with a larger kernel."""
        op = site.op
        zeros = [(0, max(_missing(op, axis), 0)) for axis in (_ROWS, _COLUMNS)]
        kernel = np.pad(trace.array(op.inputs[1]), [*zeros, (0, 0), (0, 0)])
        return [
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=op.outputs[0].shape,
                filter=kernel,
                out_backprop=inputs[0],
                strides=op.get_attr("strides"),
                padding=op.get_attr("padding").decode(),
            )
        ]


class DilatedTransposedToConvolution(_TransposedConvolution):
    """See the module: the second replacement."""

    atol = 1e-4  # k * k * C products of values below 4, summed in another order
    needs_xla = True

    def applies(self, op: tf.Operation) -> bool:
        """Return whether the op is dilated; there is no stride then."""
        return bool(max(op.get_attr("dilations")) > 1 and max(op.get_attr("strides")) == 1)

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build a convolution, over a map padded to what it needs."""
        op, (x,) = site.op, inputs
        kernel = np.ascontiguousarray(trace.array(op.inputs[1])[::-1, ::-1].transpose(0, 1, 3, 2))
        dilations = op.get_attr("dilations")
        pads, is_same = [], True
        for axis in (_ROWS, _COLUMNS):
            reach = (kernel.shape[axis - 1] - 1) * dilations[axis]
            source, target = int(x.shape[axis]), int(op.outputs[0].shape[axis])
            cut = max(source + reach - target, 0) // 2
            pads.append((reach - cut, target - source + cut))
            is_same = is_same and pads[-1] == (reach // 2, reach - reach // 2)
        if not is_same:
            x = tf.pad(x, [(0, 0), *pads, (0, 0)])
        return [tf.nn.conv2d(x, kernel, 1, "SAME" if is_same else "VALID", dilations=dilations)]


def _missing(op: tf.Operation, axis: int) -> int:
    """Return how many pixels of the output lie after the last that the kernel reaches."""
    reach = (int(op.inputs[1].shape[axis - 1]) - 1) * int(op.get_attr("dilations")[axis]) + 1
    source, target = int(op.inputs[2].shape[axis]), int(op.outputs[0].shape[axis])
    return target - (source - 1) * int(op.get_attr("strides")[axis]) - reach
