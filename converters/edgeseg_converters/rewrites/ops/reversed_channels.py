"""Replace the reversal of the channels, ``x[..., ::-1]``, by an order of weights.

    Given:   y = Conv2D(kernel)(x[..., ::-1])           x (B, H, W, C)
    Result:  y = Conv2D(kernel[:, :, ::-1])(x)

    Given:   y = x[..., ::-1]                           C of at most 16
    Result:  y = Conv2D(eye(C)[:, ::-1])(x)

The first sums the same products in another order. The second copies values: a product with 1, and sums with zeros; its
weights are exact in integers too. STRIDED_SLICE with a negative step and GATHER are ops that XNNPACK and GPUs do not
have, so that the network was cut there, most often at its image, whose colors are reversed. Of more channels the second
form would cost more than the cut, and they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace

_MOST_CHANNELS = 16


class ReversedChannelsToWeights(OpRewrite):
    """See the module."""

    types = ("StridedSlice", "ReverseV2")
    atol = 1e-4  # up to a few thousand products of values up to 4 in another order, a float32 step of 1e-7 each

    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Match a reversal of the last of four axes alone."""
        x, y = op.inputs[0], op.outputs[0]
        if x.shape.rank != 4 or x.shape != y.shape or x.dtype != tf.float32 or trace.is_constant(x):
            return None
        if not _reverses_channels(trace, op):
            return None
        readers = trace.readers(y)
        if len(readers) == 1 and _can_take(trace, readers[0], channels=x.shape[3]):
            return OpSite(op, (x,), (readers[0].outputs[0],))
        return OpSite(op, (x,), (y,)) if x.shape[3] <= _MOST_CHANNELS else None

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build the convolution."""
        conv = site.outputs[0].op
        if conv is site.op:
            channels = int(site.inputs[0].shape[3])
            kernel = np.eye(channels, dtype=np.float32)[None, None, :, ::-1]
            return [tf.nn.conv2d(inputs[0], tf.constant(kernel.copy()), 1, "VALID")]
        kernel = trace.array(conv.inputs[1])[:, :, ::-1]
        return [
            tf.raw_ops.Conv2D(
                input=inputs[0],
                filter=tf.constant(kernel.copy()),
                strides=conv.get_attr("strides"),
                padding=conv.get_attr("padding").decode(),
                explicit_paddings=conv.get_attr("explicit_paddings"),
                dilations=conv.get_attr("dilations"),
            )
        ]


def _can_take(trace: Trace, op: tf.Operation, channels: int) -> bool:
    """Return whether an op is a convolution whose kernel can have another order."""
    if op.type != "Conv2D" or not trace.is_constant(op.inputs[1]) or op.get_attr("data_format") != b"NHWC":
        return False
    return bool(op.inputs[1].shape[2] == channels)  # fewer where it is grouped


def _reverses_channels(trace: Trace, op: tf.Operation) -> bool:
    """Return whether an op reverses the last axis, and no other one."""
    if op.type == "ReverseV2":
        return trace.array(op.inputs[1]).tolist() in ([3], [-1])
    steps = trace.array(op.inputs[3]).tolist()
    # The shape stays as it is, so that an axis with the step 1 is whole.
    return steps[-1] == -1 and set(steps[:-1]) <= {1} and (len(steps) == 4 or bool(op.get_attr("ellipsis_mask")))
