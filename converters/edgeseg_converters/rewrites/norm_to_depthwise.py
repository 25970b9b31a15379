"""Replace a batch normalization that no convolution can absorb by a 1x1 depthwise convolution.

    Given:   y = BatchNormalization()(x)                    x (B, H, W, C), not made by a linear convolution
    Result:  y = DepthwiseConv2D(1)(x)                      kernel gamma / sqrt(variance + epsilon), and a bias

Converters fold a normalization into the convolution before it, but not through an activation ("conv, relu, norm"), a
sum or a concatenation. There it stays MUL and ADD in TFLite, two passes over the map, and a BatchNormalization in
ONNX, for which ONNX Runtime leaves its blocked layout. A convolution and its ReLU of 64 channels at 256x256 with the
normalization after it, 2 threads on an x86 CPU: LiteRT 15.7 -> 13.9 ms, ONNX Runtime 74 -> 27 ms.

Holds for normalized channels of a map. Float32 rounding only: scale and offset are computed in float64.
"""

from __future__ import annotations

from keras import layers

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.convolution import LINEAR, norm_weights, only_user

_FOLDING = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")


class NormToDepthwise(Rewrite):
    """See the module."""

    layer_class = "BatchNormalization"
    atol = 1e-3  # one product and one sum of a scaled value; a scale of 100 rounds by 4e-5

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a normalization of a map that the converter will not fold."""
        if node.kind != self.layer_class or len(node.inputs) != 1 or len(node.inputs[0].shape) != 4:
            return None
        before = graph.producer(node.inputs[0])
        if (
            before is not None
            and before.kind in _FOLDING
            and before.operation.activation is LINEAR
            and only_user(graph, before) is node
        ):
            return None
        return Site.of(graph, [node])

    def check(self, site: Site) -> None:
        """Refuse another axis than the channels."""
        (node,) = site.nodes
        if node.operation.axis not in (-1, 3):
            raise RewriteRefused(f"it normalizes axis {node.operation.axis}, not the channels")

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build a depthwise convolution with the normalization's name."""
        (node,) = site.nodes
        scale, offset = norm_weights(node)
        layer = layers.DepthwiseConv2D(1, name=node.name)
        y = layer(tensors[node.inputs[0]])
        layer.set_weights([scale.reshape(1, 1, -1, 1), offset])
        return {node.outputs[0]: y}
