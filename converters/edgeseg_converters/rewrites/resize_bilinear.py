"""Replaces a ``ResizeBilinear`` that takes its size from a second map by one of a fixed size.

    Given:   y = ResizeBilinear(align_corners=a)([x, like])              x (B, h, w, C), like (B, H, W, *)
    Result:  y = ResizeBilinear(size=(H, W), align_corners=a)(x)         y (B, H, W, C)

Holds when h, w, H and W are fixed. Exact: the same op. The fixed form is one RESIZE_BILINEAR in TFLite and one Resize
in ONNX, both with the corners as the model was trained, and it no longer keeps ``like`` in memory.
"""

from __future__ import annotations

import keras

from edgeseg.models.layers import ResizeBilinear
from edgeseg_converters.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.static_size import static_size


class ResizeBilinearToFixedSize(Rewrite):
    """See the module."""

    layer_class = "ResizeBilinear"
    atol = 0.0  # the same op with the same arguments

    def match(self, graph: Graph, node: Node) -> Site | None:
        """A call with two maps; one of a fixed size already is what converters want."""
        return super().match(graph, node) if len(node.inputs) > 1 else None

    def check(self, site: Site) -> None:
        """Refuse sizes that are not fixed, and another call than ``[source, like]``."""
        static_size(site)

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """One layer with the name of the old one; none is needed for the same size."""
        (node,) = site.nodes
        source, size = node.inputs[0], static_size(site)
        if source.shape[1:3] == size:
            return {node.outputs[0]: keras.layers.Identity(name=node.name)(tensors[source])}
        fixed = ResizeBilinear(size, align_corners=node.operation.align_corners, name=node.name)
        return {node.outputs[0]: fixed(tensors[source])}
