"""Replace a ``ResizeBilinear`` that takes its size from a second map by one of a fixed size.

    Given:   y = ResizeBilinear(align_corners=a)([x, like])              x (B, h, w, C), like (B, H, W, *)
    Result:  y = ResizeBilinear(size=(H, W), align_corners=a)(x)         y (B, H, W, C)

Holds when h, w, H and W are fixed. Exact: the same op. The fixed form is one RESIZE_BILINEAR in TFLite and one Resize
in ONNX, both with the corners as the model was trained, and it no longer keeps ``like`` in memory.
"""

from __future__ import annotations

import keras

from edgeseg.models.layers import ResizeBilinear
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Site
from edgeseg_converters.rewrites.shared.static_size import FixedSizeRewrite


class ResizeBilinearToFixedSize(FixedSizeRewrite):
    """See the module."""

    layer_class = "ResizeBilinear"
    atol = 0.0  # the same op with the same arguments

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a call with two maps; with one map the size is fixed already, as converters want it."""
        return super().match(graph, node) if len(node.inputs) > 1 else None

    def resize(self, node: Node, size: tuple[int, int]) -> keras.layers.Layer:
        """Return a bilinear resize, with the corners as the model was trained."""
        return ResizeBilinear(size, align_corners=node.operation.align_corners, name=node.name)
