"""Compute a 3x3 convolution of many channels by Winograd's F(4, 3) along the width: 18 multiplications, not 36.

    Given:   y = Conv2D(F, 3, "same")(x)                                 x (B, H, W, C), y (B, H, W, F)
    Result:  y = reshape(concat(y_0, y_1, y_2, y_3), (H, W, F))          y_j (B, H, W/4, F), columns 4t + j of y

``winograd_transforms`` has the mathematics: six filtered maps of a quarter of the width, a (3, 1) convolution of each,
and 13 sums and products of the results. Rows stay as they are: both axes would save more multiplications, for 16 to 36
maps with as many kernels. Measured speed-up over the direct convolution, C = F, LiteRT with XNNPACK on an x86 CPU that
had other work too: CPU time of one thread / wall time of two.

    map          C = 32         64             128            256            512
    8x8                                                                      1.35 / 1.29
    16x16                       1.35 / 0.93    1.50 / 0.82    1.59 / 1.30    1.64 / 1.55
    32x32                       1.37 / 0.84    1.64 / 1.39    1.85 / 1.62    1.83 / 1.79
    64x64        1.14 / 0.79    1.39 / 1.22    1.57 / 1.50    1.73 / 1.70    1.74 / 1.72
    128x128      1.11 / 0.98    1.22 / 1.24    1.37 / 1.40    1.52 / 1.58
    256x256                     1.08 / 0.95    1.22 / 1.16

Every one of some thirty operations waits for both threads, so a convolution must be long enough; with few channels
the maps cost too much. On ONNX Runtime SegNet at 256x256 gets 1.24 with one thread and 0.93 with two, so ONNX Runtime
does not get this rule.

The kernels become twice as large, 18 numbers for 9, and so does their share of the file and of memory: U-Net with
VGG-16 has 183 MB in place of 100.

Holds for stride 1, dilation 1, one group and a width divisible by 4, and where no pooling with indices comes after it
(SegNet's encoder: with random weights its rounding moved the classes of 35 % of the pixels). ``ZeroPadding2D(1)``
before a "valid" convolution counts as "same". A batch normalization that is the only reader of the convolution is
folded into the weights, and the activation after it runs in the four maps, where runtimes fuse it. Float32 rounding:
kernels are computed in float64 and rounded once, the transforms multiply by at most 8; the error is 5e-6 of the largest
output.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from edgeseg.choices import INTEGERS
from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.convolution import (
    LINEAR,
    ConvParts,
    folded_weights,
    new_conv,
    norm_after,
    only_user,
    refuse_shared_layers,
    refuse_unless_plain_3x3,
)
from edgeseg_converters.rewrites.shared.winograd_transforms import BIASED, PIXELS, input_maps, kernels, output_maps

_INDEXED_POOLING = ("IndexedMaxPooling", "MaxPoolingWithArgmax2D")


class ConvToWinograd(Rewrite):
    """See the module.

    Args:
        min_channels: the cost rule: with fewer in or out, the transforms cost more than the convolution saves.
        min_products: of input channels, output channels and pixels; with fewer, threads wait longer than they save.
    """

    layer_class = "Conv2D"
    atol = 1e-3  # 5e-6 of outputs that folded weights make as large as 200; seen in the zoo: 1e-4
    moves_rounding = True
    # The transformed maps have 10 times the range, and the sums cancel most of it: fewer bits are not enough.
    not_for = INTEGERS | {"fp16"}

    def __init__(self, min_channels: int = 128, min_products: int = 2**24) -> None:
        self.min_channels = min_channels
        self.min_products = min_products

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a 3x3 convolution, perhaps with a border before it, perhaps with its normalization and activation."""
        if node.kind != self.layer_class or node.operation.kernel_size != (3, 3):
            return None
        before = graph.producer(node.inputs[0])
        border = before is not None and before.kind == "ZeroPadding2D" and only_user(graph, before) is node
        nodes = [before] if before is not None and border else []
        nodes += [node, *norm_after(graph, node)]
        after = only_user(graph, nodes[-1])
        if after is not None and after.kind in ("Activation", "ReLU") and node.operation.activation is LINEAR:
            nodes.append(after)
        return Site.of(graph, nodes)

    def check(self, site: Site) -> None:
        """Refuse other convolutions, widths not divisible by 4, shared layers, and what does not pay."""
        parts = _Parts(site)
        conv = parts.conv.operation
        refuse_unless_plain_3x3(parts.conv, parts.pad)
        _, height, width, channels = site.inputs[0].shape
        if height is None or width is None or width % PIXELS:
            raise RewriteRefused(f"its width {width} is not divisible by {PIXELS}")
        if min(channels or 0, conv.filters) < self.min_channels:
            raise RewriteRefused(
                f"it has {channels} -> {conv.filters} channels; with fewer than {self.min_channels} nothing is gained"
            )
        if height * width * (channels or 0) * conv.filters < self.min_products:
            raise RewriteRefused(f"a map of {height}x{width} with {channels} channels is too small to gain anything")
        refuse_shared_layers(site)
        if (pool := _indexed_pooling_after(site)) is not None:
            raise RewriteRefused(
                f"the pooling '{pool.name}' after it tells which pixel was largest, and the rounding would change that"
            )

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build the transforms and the six convolutions; the last layer keeps the convolution's name."""
        parts = _Parts(site)
        name = parts.conv.name
        kernel, bias = folded_weights(parts.conv, parts.norm)
        maps = input_maps(tensors[site.inputs[0]], name)
        m = [
            new_conv(d, taps, bias if i == BIASED else None, name=f"{name}_{i}")
            for i, (d, taps) in enumerate(zip(maps, kernels(kernel), strict=True))
        ]
        pixels = [parts.activate(y, f"{name}_pixel_{j}") for j, y in enumerate(output_maps(m))]
        joined = layers.Concatenate(name=f"{name}_pixels")(pixels)
        return {site.outputs[0]: layers.Reshape(site.outputs[0].shape[1:], name=name)(joined)}


def _indexed_pooling_after(site: Site) -> Node | None:
    """Return a pooling with indices that the outputs of a site reach, at any distance."""
    pending, seen = list(site.outputs), set(site.outputs)
    while pending:
        for node in site.graph.users(pending.pop()):
            if node.kind in _INDEXED_POOLING:
                return node
            pending += [value for value in node.outputs if value not in seen]
            seen.update(node.outputs)
    return None


class _Parts(ConvParts):
    """The parts of a site, with the activation after the convolution."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.activation = self.by_kind.get("Activation", self.by_kind.get("ReLU"))

    def activate(self, y: Any, name: str) -> Any:
        """Apply the convolution's activation, or that of the layer after it, as a layer of its own."""
        if self.activation is None:
            return layers.Activation(self.conv.operation.activation, name=name)(y)
        layer = self.activation.operation
        return type(layer).from_config({**layer.get_config(), "name": name})(y)
