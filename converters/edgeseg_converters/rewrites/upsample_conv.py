"""Moves a 3x3 convolution before the nearest x2 upsampling that it reads: 16 multiplications in place of 36.

    Given:   y = Conv2D(F, 3, "same")(UpSampling2D(2)(x))                  x (B, h, w, C), y (B, 2h, 2w, F)
    Result:  y_ab = Conv2D(F, 2)(pad_ab(x)), a and b in (0, 1)             y_ab (B, h, w, F)
             y = DepthToSpace(2)(concat(y_00, y_01, y_10, y_11))

The pixel (2i + a, 2j + b) reads three rows of the upsampled map, which are only two of ``x``: i-1 and i for a = 0,
i and i+1 for a = 1. The taps that read the same row are summed beforehand, columns likewise:

    a = 0, border above:  (k_0, k_1 + k_2)
    a = 1, border below:  (k_0 + k_1, k_2)

Through a concatenation, as every U-Net has it, the kernel is split by input channel and the parts are added:

    Conv2D(concat(UpSampling2D(2)(x), skip)) = phases(x) + Conv2D(skip)

A ``ZeroPadding2D(1)`` before a "valid" convolution counts as "same"; a batch normalisation that alone reads the
convolution is folded into the weights, as a converter would have done.

Holds for stride 1, dilation 1, one group, and for layers in between that nothing else reads. Float32 rounding only:
the taps are summed in float64 and rounded once.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from edgeseg.errors import RewriteRefused
from edgeseg_converters.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.lowered import DepthToSpace

# Which taps of three a tap of two sums up, (2, 3), for the even and the odd rows of the output.
_TAPS = (np.array([[1, 0, 0], [0, 1, 1]]), np.array([[1, 1, 0], [0, 0, 1]]))
_LINEAR = keras.activations.linear


class UpsampleConvToPhases(Rewrite):
    """See the module.

    Args:
        min_channels: the cost rule: with fewer upsampled channels the copies cost more than the convolution saves.
    """

    layer_class = "UpSampling2D"
    atol = 1e-3  # 9 * C products of values below 4, summed in another order

    def __init__(self, min_channels: int = 32) -> None:
        self.min_channels = min_channels

    def match(self, graph: Graph, node: Node) -> Site | None:
        """UpSampling2D, then perhaps a concatenation and a border, a convolution, and perhaps its normalisation."""
        if node.kind != self.layer_class or node.operation.interpolation != "nearest":
            return None
        nodes = [node]
        for kind in ("Concatenate", "ZeroPadding2D", "Conv2D"):
            following = _only_user(graph, nodes[-1])
            if following is not None and following.kind == kind:
                nodes.append(following)
            elif kind == "Conv2D":
                return None
        after = _only_user(graph, nodes[-1])
        if after is not None and after.kind == "BatchNormalization" and nodes[-1].operation.activation is _LINEAR:
            nodes.append(after)
        return Site.of(graph, nodes)

    def check(self, site: Site) -> None:
        """Refuse other factors and kernels, layers shared with another place, and what does not pay."""
        parts = _Parts(site)
        conv = parts.conv.operation
        channels = parts.up.inputs[0].shape[-1] or 0
        if tuple(parts.up.operation.size) != (2, 2):
            raise RewriteRefused(f"it upsamples by {tuple(parts.up.operation.size)}; only 2x2 is known")
        if conv.kernel_size != (3, 3) or conv.strides != (1, 1) or conv.dilation_rate != (1, 1) or conv.groups != 1:
            raise RewriteRefused(f"'{conv.name}' is no plain 3x3 convolution of stride 1")
        border = None if parts.pad is None else parts.pad.operation.padding
        if (conv.padding, border) not in (("same", None), ("valid", ((1, 1), (1, 1)))):
            raise RewriteRefused(f"'{conv.name}' does not keep the size: padding '{conv.padding}', border {border}")
        if "channels_first" in {parts.up.operation.data_format, conv.data_format}:
            raise RewriteRefused("it is channels_first")
        if parts.concat is not None and parts.concat.operation.axis not in (-1, 3):
            raise RewriteRefused(f"'{parts.concat.name}' joins another axis than the channels")
        operations = [node.operation for node in site.nodes]
        if any(node.operation in operations for node in site.graph.nodes if node not in site.nodes):
            raise RewriteRefused("one of its layers is used in another place as well")
        if channels < self.min_channels:
            raise RewriteRefused(
                f"it upsamples {channels} channels; with fewer than {self.min_channels} nothing is won"
            )

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """The last layer keeps the convolution's name."""
        parts = _Parts(site)
        conv = parts.conv.operation
        kernel, bias = parts.weights()
        x = parts.up.inputs[0]
        start, stop = parts.channels_of_up()
        skips = [value for value in parts.concat.inputs if value is not parts.up.outputs[0]] if parts.concat else []
        # Alone, the activation runs inside the phases, where runtimes fuse it; a sum must come before it.
        activation = None if skips else conv.activation
        phases = [
            _conv(
                layers.ZeroPadding2D(((1 - a, a), (1 - b, b)), name=f"{conv.name}_border_{a}{b}")(tensors[x]),
                np.einsum("pr,qs,rscf->pqcf", _TAPS[a], _TAPS[b], kernel[:, :, start:stop]),
                bias,
                activation=activation,
                name=f"{conv.name}_phase_{a}{b}",
            )
            for a in (0, 1)
            for b in (0, 1)
        ]
        joined = layers.Concatenate(name=f"{conv.name}_phases")(phases)
        y = DepthToSpace(2, name=f"{conv.name}_up" if skips else conv.name)(joined)
        if skips:
            rest = np.delete(kernel, np.s_[start:stop], axis=2)
            skip: Any = tensors[skips[0]]
            if len(skips) > 1:
                skip = layers.Concatenate(name=f"{conv.name}_skips")([tensors[value] for value in skips])
            y = layers.Add(name=f"{conv.name}_sum")([y, _conv(skip, rest, None, name=f"{conv.name}_skip")])
            y = layers.Activation(conv.activation, name=conv.name)(y)
        return {site.outputs[0]: y}


class _Parts:
    """The nodes of a site by what they are."""

    def __init__(self, site: Site) -> None:
        by_kind = {node.kind: node for node in site.nodes}
        self.up, self.conv = by_kind["UpSampling2D"], by_kind["Conv2D"]
        self.concat, self.pad = by_kind.get("Concatenate"), by_kind.get("ZeroPadding2D")
        self.norm = by_kind.get("BatchNormalization")

    def channels_of_up(self) -> tuple[int, int]:
        """Where the upsampled channels are among the convolution's input channels."""
        sides = [self.up.outputs[0]] if self.concat is None else list(self.concat.inputs)
        at = sides.index(self.up.outputs[0])
        start = sum(value.shape[-1] or 0 for value in sides[:at])
        return start, start + (sides[at].shape[-1] or 0)

    def weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Kernel ``(3, 3, C, F)`` and bias ``(F,)`` with the batch normalisation in them."""
        conv = self.conv.operation
        kernel, *rest = (np.asarray(array, np.float64) for array in conv.get_weights())
        bias = rest[0] if rest else np.zeros(conv.filters)
        if self.norm is None:
            return kernel, bias
        norm = self.norm.operation
        mean, variance = (_array(v) for v in (norm.moving_mean, norm.moving_variance))
        scale = (_array(norm.gamma) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
        offset = _array(norm.beta) if norm.center else 0.0
        return kernel * scale, (bias - mean) * scale + offset


def _conv(x: Any, kernel: NDArray[Any], bias: NDArray[Any] | None, *, name: str, activation: Any = None) -> Any:
    """A new convolution with these weights; "same" where the kernel is odd, else "valid"."""
    padding = "same" if kernel.shape[0] % 2 else "valid"
    layer = layers.Conv2D(
        kernel.shape[-1], kernel.shape[:2], padding=padding, use_bias=bias is not None, activation=activation, name=name
    )
    y = layer(x)
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return y


def _array(variable: Any) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)


def _only_user(graph: Graph, node: Node) -> Node | None:
    (value,) = node.outputs
    users = graph.users(value)
    return users[0] if len(users) == 1 and value not in graph.outputs else None
