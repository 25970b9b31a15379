"""Replace ``UpsampleLike([x, like])`` by a nearest resize to a fixed size.

    Given:   y = UpsampleLike()([x, like])     x (B, h, w, C), like (B, H, W, *)
    Result:  y = NearestResize((H, W))(x)      y (B, H, W, C)

Holds when h, w, H and W are fixed. Exact: values are copied. HRNet and RetinaNet in Keras have such a layer; the size
read from a tensor keeps SHAPE, STRIDED_SLICE and PACK in the artifact, and a delegate leaves the graph there.

Why not ``UpSampling2D``: it becomes RESHAPE + TILE in five dimensions, which the LiteRT GPU accelerator refuses.
"""

from __future__ import annotations

import keras

from edgeseg_converters.keras_model.graph import Node
from edgeseg_converters.rewrites.shared.lowered import NearestResize
from edgeseg_converters.rewrites.shared.static_size import FixedSizeRewrite


class UpsampleLikeToNearestResize(FixedSizeRewrite):
    """See the module."""

    layer_class = "UpsampleLike"
    atol = 0.0  # a copy

    def resize(self, node: Node, size: tuple[int, int]) -> keras.layers.Layer:
        """Return a nearest resize."""
        return NearestResize(size, name=node.name)
