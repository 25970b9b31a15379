"""Replace a pixel shuffle that is written as reshapes of rank 6 by the op for it.

    Given:   y = reshape(transpose(reshape(x, (B, H, W, r, r, C)), (0, 1, 3, 2, 4, 5)), (B, Hr, Wr, C))
    Result:  y = DepthToSpace(r)(x)                                x (B, H, W, r*r*C), y (B, Hr, Wr, C)

    Given:   y = reshape(transpose(reshape(x, (B, H, r, W, r, C)), (0, 1, 3, 2, 4, 5)), (B, H, W, r*r*C))
    Result:  y = SpaceToDepth(r)(x)                                x (B, Hr, Wr, C), y (B, H, W, r*r*C)

Exact: values are copied. Tensors of more than four or five axes are what GPUs and NPUs do not have. The order of
PyTorch's ``pixel_shuffle``, a channel's block side by side, is another transpose and is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace

_ORDER = [0, 1, 3, 2, 4, 5]


class ReshapesToPixelShuffle(OpRewrite):
    """See the module."""

    types = ("Transpose",)
    atol = 0.0  # values are copied

    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Match a transpose between two reshapes that nothing else reads."""
        apart = op.inputs[0]
        readers = trace.readers(op.outputs[0])
        if apart.shape.rank != len(_ORDER) or trace.array(op.inputs[1]).tolist() != _ORDER:
            return None
        if apart.op.type != "Reshape" or [reader.type for reader in readers] != ["Reshape"]:
            return None
        site = OpSite(op, (apart.op.inputs[0],), (readers[0].outputs[0],))
        return site if site.inputs[0].shape.is_fully_defined() and _block(site) else None

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build the op."""
        block = _block(site)
        shuffle = tf.nn.depth_to_space if block > 0 else tf.nn.space_to_depth
        return [shuffle(inputs[0], abs(block))]


def _block(site: OpSite) -> int:
    """Return the side of a block, negative where space becomes depth; 0 where it is something else."""
    before, apart, after = (tensor.shape.as_list() for tensor in (site.inputs[0], site.op.inputs[0], site.outputs[0]))
    batch, *axes, channels = apart
    if len(before) != 4 or len(after) != 4 or before[0] != batch or after[0] != batch:
        return 0
    if axes[2] == axes[3] > 1 and before[1:] == [*axes[:2], axes[2] ** 2 * channels]:
        return int(axes[2]) if after[3] == channels and after[1] == axes[0] * axes[2] else 0
    if axes[1] == axes[3] > 1 and before[1:] == [axes[0] * axes[1], axes[2] * axes[3], channels]:
        return -int(axes[1]) if after[1:] == [axes[0], axes[2], axes[1] ** 2 * channels] else 0
    return 0
