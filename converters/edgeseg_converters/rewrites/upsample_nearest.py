"""Lower nearest upsampling to one op that the target has.

    Given:   y = UpSampling2D((a, b), interpolation="nearest")(x)      x (B, h, w, C), y (B, h*a, w*b, C)
    Result:  y = NearestResize((h*a, w*b))(x)                          one RESIZE_NEAREST_NEIGHBOR, one Resize

    Given:   y = NearestResize((h*a, w*b))(x)
    Result:  y = NearestBroadcast((a, b))(x)                           RESHAPE, MUL by ones, RESHAPE

The first is needed because Keras' own layer becomes RESHAPE + TILE in five dimensions, which no LiteRT delegate takes.
The second is for XNNPACK, which has no RESIZE_NEAREST_NEIGHBOR. The multiplication was the fastest form measured: x2 of
128x128x64 took 6 ms, copies joined along reshaped axes 12, copies and DEPTH_TO_SPACE 15, and RESIZE_NEAREST_NEIGHBOR
outside the delegate 12; x8 of 15x15x144 took 1.5, 5.8, 6.9 and 3.2 ms (x86-64, 2 threads).

Holds when h and w are fixed; the second for whole factors. Exact: values are copied, and a product with 1 is one.
"""

from __future__ import annotations

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.lowered import NearestBroadcast, NearestResize


class UpsamplingToNearestResize(Rewrite):
    """See the module."""

    layer_class = "UpSampling2D"
    atol = 0.0  # a copy

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match the layer, unless it interpolates."""
        return super().match(graph, node) if getattr(node.operation, "interpolation", "") == "nearest" else None

    def check(self, site: Site) -> None:
        """Refuse sizes that are not fixed, and channels first."""
        (node,) = site.nodes
        if node.operation.data_format == "channels_first":
            raise RewriteRefused("it is channels_first")
        if None in node.inputs[0].shape[1:3]:
            raise RewriteRefused(f"its input is {node.inputs[0].shape}; build the model with a fixed input size")

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build one layer with the name of the old one."""
        (node,) = site.nodes
        _, height, width, _ = node.outputs[0].shape
        return {node.outputs[0]: NearestResize((height or 0, width or 0), name=node.name)(tensors[node.inputs[0]])}


class NearestResizeToBroadcast(Rewrite):
    """See the module."""

    layer_class = "NearestResize"
    atol = 0.0  # a product with 1

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match the layer where its size is a whole multiple; all others stay as they are."""
        return super().match(graph, node) if node.kind == self.layer_class and _factors(node) else None

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build one layer with the name of the old one."""
        (node,) = site.nodes
        factors = _factors(node)
        assert factors is not None  # else no site
        return {node.outputs[0]: NearestBroadcast(factors, name=node.name)(tensors[node.inputs[0]])}


def _factors(node: Node) -> tuple[int, int] | None:
    """Return how often each row and each column is copied; ``None`` where that is no whole number."""
    (_, height, width, _), (large_height, large_width) = node.inputs[0].shape, node.operation.size
    if not height or not width or large_height % height or large_width % width:
        return None
    return large_height // height, large_width // width
