"""Move an activation that keeps 0 at 0 before the zero padding that it reads.

    Given:   y = ReLU(ZeroPadding2D(p)(x))         x (B, h, w, C)
    Result:  y = ZeroPadding2D(p)(ReLU(x))

Then the border is next to the convolution that needs it and the activation next to the layer that makes x, and XNNPACK
and ONNX Runtime run each pair in one pass; in between, each is a copy of the map. The strided steps of Xception in
DeepLab are such places.

Holds for every activation layer whose value at 0 is 0, which is measured, and where nothing else reads the border.
Exact: the same function of the same pixels.
"""

from __future__ import annotations

import keras

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.convolution import only_user, refuse_shared_layers

# One function for every pixel; PReLU has weights for each place and is not among them.
_ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "ELU")


class ActivationBeforePadding(Rewrite):
    """See the module."""

    layer_class = "ZeroPadding2D"
    atol = 0.0
    moves_rounding = True

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a padding and the activation that is its only reader."""
        following = only_user(graph, node) if node.kind == self.layer_class else None
        if following is None or following.kind not in _ACTIVATIONS:
            return None
        return Site.of(graph, [node, following])

    def check(self, site: Site) -> None:
        """Refuse an activation that would change the border, and shared layers."""
        refuse_shared_layers(site)
        activation = site.nodes[1]
        at_zero = float(keras.ops.convert_to_numpy(activation.operation(keras.ops.zeros((1, 1, 1, 2)))).max())
        if at_zero != 0:
            raise RewriteRefused(f"'{activation.name}' turns the border's 0 into {at_zero:g}")

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build the two layers in the other order; both keep their names."""
        padding, activation = site.nodes
        y = tensors[padding.inputs[0]]
        for node in (activation, padding):
            y = type(node.operation).from_config({**node.operation.get_config(), "name": node.name})(y)
        return {activation.outputs[0]: y}
