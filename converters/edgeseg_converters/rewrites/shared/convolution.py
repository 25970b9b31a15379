"""Share what rules about convolutions need: the parts of a site, weights in float64, a new convolution."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Site

#: The activation of a layer that has none.
LINEAR = keras.activations.linear


class ConvParts:
    """The nodes of a site with one ``Conv2D``, by their kind; ``None`` for a kind that it does not have."""

    def __init__(self, site: Site) -> None:
        self.by_kind = {node.kind: node for node in site.nodes}
        self.conv = self.by_kind["Conv2D"]
        self.pad, self.norm = self.by_kind.get("ZeroPadding2D"), self.by_kind.get("BatchNormalization")


def only_user(graph: Graph, node: Node) -> Node | None:
    """Return the only node that reads a node's output.

    ``None`` where several nodes read it, the node has more outputs, or its output is one of the model's.
    """
    if len(node.outputs) != 1:
        return None
    (value,) = node.outputs
    users = graph.users(value)
    return users[0] if len(users) == 1 and value not in graph.outputs else None


def norm_after(graph: Graph, conv: Node) -> list[Node]:
    """Return the batch normalization that can be folded into a convolution, in a list; an empty list without one."""
    after = only_user(graph, conv)
    if after is None or after.kind != "BatchNormalization" or conv.operation.activation is not LINEAR:
        return []
    return [after] if after.operation.axis in (-1, 3) else []  # a filter has one scale, a row has not


def is_pointwise(conv: Node) -> bool:
    """Return whether a node is a plain 1x1 convolution, which sees every pixel alone."""
    if conv.kind != "Conv2D":
        return False
    layer = conv.operation
    plain = (layer.kernel_size, layer.strides, layer.groups) == ((1, 1), (1, 1), 1)
    return plain and layer.data_format == "channels_last"


def refuse_shared_layers(site: Site) -> None:
    """Raise ``RewriteRefused`` where a layer of the site is used elsewhere in the model too."""
    operations = [node.operation for node in site.nodes]
    if any(node.operation in operations for node in site.graph.nodes if node not in site.nodes):
        raise RewriteRefused("one of its layers is used in another place as well")


def refuse_unless_plain_3x3(conv: Node, pad: Node | None) -> None:
    """Raise ``RewriteRefused`` unless a ``Conv2D``, with its border, is 3x3, all else 1, and keeps the size."""
    layer = conv.operation
    if layer.kernel_size != (3, 3) or layer.strides != (1, 1) or layer.dilation_rate != (1, 1) or layer.groups != 1:
        raise RewriteRefused(f"'{layer.name}' is no plain 3x3 convolution of stride 1")
    border = None if pad is None else pad.operation.padding
    if (layer.padding, border) not in (("same", None), ("valid", ((1, 1), (1, 1)))):
        raise RewriteRefused(f"'{layer.name}' does not keep the size: padding '{layer.padding}', border {border}")
    if layer.data_format == "channels_first":
        raise RewriteRefused("it is channels_first")


def folded_weights(conv: Node, norm: Node | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return kernel ``(kh, kw, C, F)`` and bias ``(F,)`` of a convolution, with its batch normalization folded in."""
    layer = conv.operation
    kernel = _array(layer.kernel)  # unlike get_weights(), this includes what LoRA has learned
    bias = np.zeros(kernel.shape[-1]) if layer.bias is None else _array(layer.bias)
    if norm is None:
        return kernel, bias
    scale, offset = norm_weights(norm)
    return kernel * scale, bias * scale + offset


def norm_weights(norm: Node) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scale and the offset that a batch normalization applies in inference, both ``(C,)``."""
    layer = norm.operation
    mean, variance = (_array(v) for v in (layer.moving_mean, layer.moving_variance))
    scale = (_array(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    return scale, (_array(layer.beta) if layer.center else 0.0) - mean * scale


def new_conv(x: Any, kernel: NDArray[Any], bias: NDArray[Any] | None, *, name: str, activation: Any = None) -> Any:
    """Apply a new convolution with these weights: "same" where both sides of the kernel are odd, else "valid"."""
    height, width, _, filters = kernel.shape
    padding = "same" if height % 2 and width % 2 else "valid"
    layer = layers.Conv2D(
        filters, (height, width), padding=padding, use_bias=bias is not None, activation=activation, name=name
    )
    y = layer(x)
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return y


def _array(variable: Any) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
