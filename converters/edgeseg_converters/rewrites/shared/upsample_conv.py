"""Match a 3x3 convolution after a nearest x2 upsampling: the pattern that two rules make cheaper, each in a file.

    Given:   y = Conv2D(F, 3, "same")(UpSampling2D(2)(x))                  x (B, h, w, C), y (B, 2h, 2w, F)
    Result:  y = DepthToSpace(2)(concat(y_00, y_01, y_10, y_11))           y_ab (B, h, w, F)

y_ab are the pixels (2i + a, 2j + b) of y, which the rule computes from the small map.

Where a concatenation lies in between, as in every U-Net, the kernel is split by input channel and the parts are added:

    Conv2D(concat(UpSampling2D(2)(x), skip)) = rule(x) + Conv2D(skip)

A ``ZeroPadding2D(1)`` before a "valid" convolution counts as "same"; a batch normalization that alone reads the
convolution is folded into the weights, as a converter would have done.

Holds for stride 1, dilation 1, one group, and for layers in between that nothing else reads.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

from edgeseg._internal.text import counted
from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.convolution import (
    ConvParts,
    folded_weights,
    new_conv,
    norm_after,
    only_user,
    refuse_shared_layers,
    refuse_unless_plain_3x3,
)
from edgeseg_converters.rewrites.shared.lowered import DepthToSpace


class UpsampleConv(Rewrite):
    """See the module.

    Args:
        min_channels: the cost rule: with fewer upsampled channels the copies cost more than the convolution saves.
            It depends on the runtime; the rules' modules say where it was measured.
    """

    layer_class = "UpSampling2D"
    atol = 1e-3  # 9 * C products of values below 4, summed in another order
    moves_rounding = True

    def __init__(self, min_channels: int) -> None:
        self.min_channels = min_channels

    @abstractmethod
    def phases(
        self, x: Any, kernel: NDArray[np.float64], bias: NDArray[np.float64], activation: Any, name: str
    ) -> list[Any]:
        """Return y_00, y_01, y_10 and y_11, each ``(B, h, w, F)``, of ``x`` ``(B, h, w, C)``."""

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match an UpSampling2D, perhaps a concatenation and a border, a convolution, perhaps its normalization."""
        if node.kind != self.layer_class or node.operation.interpolation != "nearest":
            return None
        nodes = [node]
        for kind in ("Concatenate", "ZeroPadding2D", "Conv2D"):
            following = only_user(graph, nodes[-1])
            if following is not None and following.kind == kind:
                nodes.append(following)
            elif kind == "Conv2D":
                return None
        return Site.of(graph, [*nodes, *norm_after(graph, nodes[-1])])

    def check(self, site: Site) -> None:
        """Refuse other factors and kernels, layers shared with another place, and what does not pay."""
        parts = _Parts(site)
        channels = parts.up.inputs[0].shape[-1] or 0
        if tuple(parts.up.operation.size) != (2, 2):
            raise RewriteRefused(f"it upsamples by {tuple(parts.up.operation.size)}; only 2x2 is known")
        refuse_unless_plain_3x3(parts.conv, parts.pad)
        if parts.up.operation.data_format == "channels_first":
            raise RewriteRefused("it is channels_first")
        if parts.concat is not None and parts.concat.operation.axis not in (-1, 3):
            raise RewriteRefused(f"'{parts.concat.name}' joins another axis than the channels")
        refuse_shared_layers(site)
        if channels < self.min_channels:
            raise RewriteRefused(
                f"it upsamples {counted(channels, 'channel')}; with fewer than {self.min_channels} nothing is gained"
            )

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build the phases, joined and added to the other channels; the last layer keeps the convolution's name."""
        parts = _Parts(site)
        conv = parts.conv.operation
        kernel, bias = folded_weights(parts.conv, parts.norm)
        start, stop = parts.channels_of_up()
        skips = [value for value in parts.concat.inputs if value is not parts.up.outputs[0]] if parts.concat else []
        # Alone, the activation runs inside the phases, where runtimes fuse it; a sum must come before it.
        activation = None if skips else conv.activation
        x = tensors[parts.up.inputs[0]]
        joined = layers.Concatenate(name=f"{conv.name}_phases")(
            self.phases(x, kernel[:, :, start:stop], bias, activation, conv.name)
        )
        y = DepthToSpace(2, name=f"{conv.name}_up" if skips else conv.name)(joined)
        if skips:
            rest = np.delete(kernel, np.s_[start:stop], axis=2)
            skip: Any = tensors[skips[0]]
            if len(skips) > 1:
                skip = layers.Concatenate(name=f"{conv.name}_skips")([tensors[value] for value in skips])
            y = layers.Add(name=f"{conv.name}_sum")([y, new_conv(skip, rest, None, name=f"{conv.name}_skip")])
            y = layers.Activation(conv.activation, name=conv.name)(y)
        return {site.outputs[0]: y}


class _Parts(ConvParts):
    """The parts of a site, with the upsampling before the convolution, and perhaps a concatenation between them."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.up, self.concat = self.by_kind["UpSampling2D"], self.by_kind.get("Concatenate")

    def channels_of_up(self) -> tuple[int, int]:
        """Return where the upsampled channels start and stop among the convolution's input channels."""
        sides = [self.up.outputs[0]] if self.concat is None else list(self.concat.inputs)
        at = sides.index(self.up.outputs[0])
        start = sum(value.shape[-1] or 0 for value in sides[:at])
        return start, start + (sides[at].shape[-1] or 0)
