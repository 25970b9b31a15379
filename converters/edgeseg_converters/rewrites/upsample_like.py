"""Replaces ``UpsampleLike([x, like])`` by a nearest resize to a fixed size.

    Given:   y = UpsampleLike()([x, like])     x (B, h, w, C), like (B, H, W, *)
    Result:  y = NearestResize((H, W))(x)      y (B, H, W, C)

Holds when h, w, H and W are fixed. Exact: values are copied. HRNet and RetinaNet in Keras have such a layer; the size
read from a tensor keeps SHAPE, STRIDED_SLICE and PACK in the artifact, and a delegate leaves the graph there.

Why not ``UpSampling2D``: it becomes RESHAPE + TILE in five dimensions, which the LiteRT GPU accelerator refuses.
"""

from __future__ import annotations

import keras

from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.lowered import NearestResize
from edgeseg_converters.rewrites.static_size import static_size


class UpsampleLikeToNearestResize(Rewrite):
    """See the module."""

    layer_class = "UpsampleLike"
    atol = 0.0  # a copy

    def check(self, site: Site) -> None:
        """Refuse sizes that are not fixed, and another call than ``[source, like]``."""
        static_size(site)

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """One layer with the name of the old one, so that a node is found again; none is needed for the same size."""
        (node,) = site.nodes
        source, size = node.inputs[0], static_size(site)
        if source.shape[1:3] == size:
            return {node.outputs[0]: keras.layers.Identity(name=node.name)(tensors[source])}
        return {node.outputs[0]: NearestResize(size, name=node.name)(tensors[source])}
