"""Replace a 1x1 convolution over a concatenation of resized maps by a sum of small convolutions, resized.

    Given:   y = Conv2D(F, 1)(concat(a, resize(b), resize(c)))       a (B, H, W, A), b and c smaller, y (B, H, W, F)
    Result:  y = Conv2D(F, 1)(a) + resize(Conv2D(F, 1)(b)) + resize(Conv2D(F, 1)(c))

The kernel is split by input channel, and each part commutes with its resize (see ``pointwise_before_resize``); the
bias stays in one of them. A batch normalization that is the only reader of the convolution is folded, the activation
follows the sum, and Dropout in between does nothing in inference. Then:

* maps of the same size and the same resize go through one convolution;
* copied pixels (nearest, whole factors) are added at the smaller sizes: up4(c) + up2(b) = up2(up2(c) + b);
* a map of one pixel, which is what DeepLab's image pooling gives, is not resized: adding it broadcasts.

HRNet's head joins four branches this way, and DeepLab's ASPP its image pooling.

Cost: a resized map of C channels is written, copied by the concatenation and read by C * F multiplications a pixel;
instead F channels are resized once and added. CPU time of one thread on x86-64, x2, F = 64 and 256, times as fast:

    C / F                  1/4          1/2          1
    LiteRT (XNNPACK)       0.8 - 1.0    1.1 - 1.3    1.2
    ONNX Runtime           1.0 - 1.3    1.1 - 1.5    1.4

A map of one pixel always pays: nothing is resized.

Holds for resizes to fixed sizes and layers in between that nothing else reads. Float32 rounding only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.convolution import (
    ConvParts,
    folded_weights,
    is_pointwise,
    new_conv,
    norm_after,
    only_user,
    refuse_shared_layers,
)
from edgeseg_converters.rewrites.shared.resizes import Resize, after_idle, resize_of, sum_repeated


class ConcatOfResizesToSum(Rewrite):
    """See the module.

    Args:
        min_share: the cost rule: resized channels, as a share of the convolution's filters.
    """

    layer_class = "Concatenate"
    atol = 1e-3  # C products of values below 4, summed in another order
    moves_rounding = True

    def __init__(self, min_share: float = 0.5) -> None:
        self.min_share = min_share

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a concatenation of channels, its resizes, perhaps Dropout, a 1x1 convolution, perhaps its norm."""
        if node.kind != self.layer_class or node.operation.axis not in (-1, 3):
            return None
        producers = (graph.producer(value) for value in dict.fromkeys(node.inputs))
        resizes = [x for x in producers if x and resize_of(x) and only_user(graph, x) is node]
        idle, conv = after_idle(graph, node)
        if not resizes or conv is None or not is_pointwise(conv):
            return None
        return Site.of(graph, [*resizes, node, *idle, conv, *norm_after(graph, conv)])

    def check(self, site: Site) -> None:
        """Refuse shared layers, a map that is joined twice, and what does not pay."""
        refuse_shared_layers(site)
        parts = _Parts(site)
        if len(set(parts.concat.inputs)) < len(parts.concat.inputs):
            raise RewriteRefused(f"'{parts.concat.name}' joins the same map twice")
        filters = parts.conv.operation.filters
        resized = sum(resize.channels for resize in parts.resizes.values())
        if resized < self.min_share * filters and not any(map(_one_pixel, parts.resizes.values())):
            raise RewriteRefused(
                f"{resized} resized channels go to {filters}; below a share of {self.min_share:g} nothing is gained"
            )

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build the small convolutions, their resizes and the sum; the last layer keeps the convolution's name."""
        parts = _Parts(site)
        name, activation = parts.conv.name, parts.conv.operation.activation
        kernel, bias = folded_weights(parts.conv, parts.norm)
        ends = np.cumsum([value.shape[-1] for value in parts.concat.inputs])
        slices = dict(zip(parts.concat.inputs, np.split(kernel, ends[:-1], axis=2), strict=True))

        # The values of the concatenation that one convolution can take together.
        groups: dict[Any, list[Any]] = {}
        for value in parts.concat.inputs:
            resize = parts.resizes.get(value)
            key = None if resize is None else (resize.method, resize.source.shape[1:3])
            groups.setdefault(key, []).append(value)

        terms: list[Any] = []
        repeated: list[Any] = []
        for number, values in enumerate(groups.values()):
            sources = [tensors[parts.resizes[v].source if v in parts.resizes else v] for v in values]
            x = sources[0] if len(sources) == 1 else layers.Concatenate(name=f"{name}_join{number}")(sources)
            part = np.concatenate([slices[value] for value in values], axis=2)
            y = new_conv(x, part, None if number else bias, name=f"{name}_part{number}")
            resize = parts.resizes.get(values[0])
            if resize is None or _one_pixel(resize):
                terms.append(y)
            elif resize.repeats_pixels:
                repeated.append(y)
            else:
                terms.append(resize.of(y, f"{name}_resize{number}"))
        size = parts.concat.outputs[0].shape[1:3]
        if repeated:
            terms += sum_repeated(repeated, (size[0] or 0, size[1] or 0), name)
        terms.sort(key=lambda term: -int(term.shape[1]))  # maps of one pixel last, to broadcast onto a sum
        if terms[0].shape[1:3] != size:
            raise RewriteRefused("it joins maps of one pixel only, and nothing gives the sum its size")
        y = terms[0]
        if len(terms) > 1:
            y = layers.Add(name=f"{name}_sum")(terms)
        return {site.outputs[0]: layers.Activation(activation, name=name)(y)}


class _Parts(ConvParts):
    """The parts of a site, with the concatenation and the ``resizes`` by the value that each gives it."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.concat = self.by_kind["Concatenate"]
        resizes = (resize_of(node) for node in site.nodes)
        self.resizes: dict[Any, Resize] = {x.node.outputs[0]: x for x in resizes if x}


def _one_pixel(resize: Resize) -> bool:
    return resize.source.shape[1:3] == (1, 1)
