"""Replace ``MaxPoolingWithArgmax2D`` and its ``MaxUnpooling2D`` layers by builtin ops, without indices.

    Given:   p, index = MaxPoolingWithArgmax2D(2)(x)          x (B, 2h, 2w, C), p (B, h, w, C)
             u = MaxUnpooling2D(2)([v, index])                v (B, h, w, C), u (B, 2h, 2w, C)
    Result:  p = MaxPooling2D(2)(x)
             x_0, x_1, x_2, x_3 = the four pixels of each window, split from SpaceToDepth(2)(x)
             mask_k = (x_k == p), k = 0, 1, 2                 as 0.0 and 1.0
             u_k = mask_k * rest_k,  rest_0 = v,  rest_k+1 = rest_k - u_k,  u_3 = rest_3
             u = DepthToSpace(2)(concat(u_0, u_1, u_2, u_3))

The first pixel of a window that holds the maximum takes the value and leaves nothing for the others, so ties go where
the index went: to the first in row order. After a ReLU all-zero windows are common, and a mask of equality alone
would copy the value to all four pixels. No product rounds (the factor is 0 or 1) and no difference does (one side is
0 or both are equal), so the result is exact for every finite value.

Holds where ``MaxUnpoolingRewrite`` says. Ops: SPACE_TO_DEPTH, SPLIT, EQUAL, CAST, MUL, SUB, CONCATENATION,
DEPTH_TO_SPACE, which both TFLite and ONNX have. Of the exact forms that were measured this is the fastest on LiteRT
and ONNX Runtime: a SELECT for each mask took 1.9 and 2.4 times as long.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops

from edgeseg_converters.rewrites.shared.lowered import DepthToSpace, SpaceToDepth
from edgeseg_converters.rewrites.shared.max_unpooling_site import MaxUnpoolingRewrite


class MaxUnpoolingToMasks(MaxUnpoolingRewrite):
    """See the module."""

    def pool(self, x: Any, name: str) -> tuple[Any, Any]:
        """Return the pooled map, and masks of which of the first three pixels of each window equals it."""
        pooled = layers.MaxPooling2D(2, name=name)(x)
        pixels = ops.split(SpaceToDepth(2, name=f"{name}_pixels")(x), 4, axis=-1)
        return pooled, [ops.cast(ops.equal(pixel, pooled), pooled.dtype) for pixel in pixels[:3]]

    def unpool(self, values: Any, where: Any, name: str) -> Any:
        """Put each value at the first pixel of its window whose mask is 1: a pixel takes what those before it left."""
        parts = []
        for mask in where:
            parts.append(ops.multiply(mask, values))
            values = ops.subtract(values, parts[-1])
        joined = layers.Concatenate(name=f"{name}_parts")([*parts, values])
        return DepthToSpace(2, name=name)(joined)
