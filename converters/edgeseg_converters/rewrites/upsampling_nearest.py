"""Replaces a nearest ``UpSampling2D`` by a nearest resize to a fixed size.

    Given:   y = UpSampling2D((a, b))(x)             x (B, h, w, C), y (B, a*h, b*w, C)
    Result:  y = NearestResize((a*h, b*w))(x)

Holds when h and w are fixed and the channels are last. Exact: values are copied.

Keras repeats the rows and then the columns, which converts to Unsqueeze, Tile and Reshape in five dimensions, with
Transposes around them. One Resize stays in ONNX Runtime's blocked layout, between the convolutions that it joins.
"""

from __future__ import annotations

from edgeseg.errors import RewriteRefused
from edgeseg_converters.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.lowered import NearestResize


class UpSamplingToNearestResize(Rewrite):
    """See the module."""

    layer_class = "UpSampling2D"
    atol = 0.0  # a copy

    def match(self, graph: Graph, node: Node) -> Site | None:
        """A bilinear UpSampling2D is one resize already."""
        nearest = node.kind == self.layer_class and node.operation.interpolation == "nearest"
        return Site.of(graph, [node]) if nearest else None

    def check(self, site: Site) -> None:
        """Refuse sizes that are not fixed, and channels first."""
        (node,) = site.nodes
        if node.operation.data_format == "channels_first":
            raise RewriteRefused("it is channels_first")
        if None in node.outputs[0].shape[1:3]:
            raise RewriteRefused(f"its output is {node.outputs[0].shape}; export with a fixed input size")

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """One layer with the name of the old one."""
        (node,) = site.nodes
        height, width = node.outputs[0].shape[1:3]
        resize = NearestResize((height or 0, width or 0), name=node.name)
        return {node.outputs[0]: resize(tensors[node.inputs[0]])}
