"""Check the sizes of resizing layers and replace the layers, for all swaps of such layers."""

from __future__ import annotations

from abc import abstractmethod

import keras

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors


class FixedSizeRewrite(Rewrite):
    """Replaces a layer called on ``[source, like]`` by a resize of the source to the fixed size of the other map."""

    @abstractmethod
    def resize(self, node: Node, size: tuple[int, int]) -> keras.layers.Layer:
        """Return the layer that resizes to ``(H, W)``; it has the node's name, so that the node is found again."""

    def check(self, site: Site) -> None:
        """Refuse sizes that are not fixed, and calls on anything but ``[source, like]``."""
        static_size(site)

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build one layer with the name of the old one; for the same size an identity."""
        (node,) = site.nodes
        source, size = node.inputs[0], static_size(site)
        same = source.shape[1:3] == size
        layer = keras.layers.Identity(name=node.name) if same else self.resize(node, size)
        return {node.outputs[0]: layer(tensors[source])}


def static_size(site: Site) -> tuple[int, int]:
    """Return the fixed size that a layer called on ``[source, like]`` resizes to.

    Args:
        site: the layer's.

    Returns:
        ``(H, W)`` in pixels.

    Raises:
        RewriteRefused: it was called on something else, or a height or width is not fixed.
    """
    (node,) = site.nodes
    if len(node.inputs) != 2 or any(len(value.shape) != 4 for value in node.inputs):
        shapes = ", ".join(str(value.shape) for value in node.inputs)
        raise RewriteRefused(f"it takes [source, like], two maps (B, H, W, C); it was called on {shapes}")
    source, like = node.inputs
    for what, value in (("source", source), ("map that gives the size", like)):
        if None in value.shape[1:3]:
            raise RewriteRefused(f"the {what} is {value.shape}; build the model with a fixed input size")
    return like.shape[1] or 0, like.shape[2] or 0
