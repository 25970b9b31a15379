"""Describe nodes that resize, whichever layer they are, and add resized maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from keras import layers

from edgeseg.models.layers import ResizeBilinear
from edgeseg_converters.keras_model.graph import Graph, Node, Value
from edgeseg_converters.rewrites.shared.convolution import only_user
from edgeseg_converters.rewrites.shared.lowered import NearestResize

#: ``nearest`` takes source row floor(i * h / H) and ``nearest_centers`` floor((i + 0.5) * h / H), which is the same
#: for whole factors; ``bilinear`` sees pixels as areas and ``bilinear_corners`` aligns the corners.
Method = Literal["nearest", "nearest_centers", "bilinear", "bilinear_corners"]

_IDLE = ("Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "Identity")


@dataclass(frozen=True)
class Resize:
    """A resize of a map to a fixed size: linear, each channel alone, and the weights of a pixel sum to 1.

    Attributes:
        node: the layer's call.
        method: of the resize.
        source: ``(B, h, w, C)``.
        size: ``(H, W)``, each at least that of the source.
    """

    node: Node
    method: Method
    source: Value
    size: tuple[int, int]

    @property
    def channels(self) -> int:
        """C."""
        return self.source.shape[-1] or 0

    @property
    def repeats_pixels(self) -> bool:
        """Whether every source pixel becomes a block of copies: nearest, by whole factors."""
        return self.method == "nearest" and _divides(self.source.shape, self.size)

    def of(self, x: Any, name: str) -> Any:
        """Apply the same resize to another map of the source's height and width."""
        layer = self.node.operation
        return type(layer).from_config({**layer.get_config(), "name": name})(x)


def resize_of(node: Node | None) -> Resize | None:
    """Return the resize that a node is; ``None`` for anything else, a size that is not fixed, and a reduction."""
    if node is None or (len(node.inputs), len(node.outputs)) != (1, 1) or len(node.inputs[0].shape) != 4:
        return None
    method, (source,), (result,) = _method(node.operation), node.inputs, node.outputs
    sides = (*source.shape[1:3], *result.shape[1:3])
    if method is None or None in sides:
        return None
    h, w, height, width = (side or 0 for side in sides)
    if height < h or width < w or (h, w) == (height, width):
        return None
    if method == "nearest_centers" and _divides(source.shape, (height, width)):
        method = "nearest"
    return Resize(node, method, source, (height, width))


def after_idle(graph: Graph, node: Node) -> tuple[list[Node], Node | None]:
    """Return the layers after a node that do nothing in inference, such as Dropout, and the only reader of the last."""
    idle: list[Node] = []
    following = only_user(graph, node)
    while following is not None and following.kind in _IDLE:
        idle.append(following)
        following = only_user(graph, following)
    return idle, following


def sum_repeated(maps: Iterable[Any], size: tuple[int, int], name: str) -> list[Any]:
    """Repeat the pixels of maps up to a size, with as few maps as possible whose sum is the same.

    Where the size of one map divides that of another, the two are added at the larger size, not at the full size:
    up4(a) + up2(b) = up2(up2(a) + b).

    Args:
        maps: ``(B, h, w, F)`` each, h and w dividing ``size``.
        size: ``(H, W)``.
        name: prefix of the layers' names.

    Returns:
        Maps ``(B, H, W, F)``; one where all sizes divide each other.
    """
    full: list[Any] = []
    total: Any = None
    for number, x in enumerate(sorted(maps, key=lambda x: int(x.shape[1]))):
        if total is None:
            total = x
            continue
        if not _divides(total.shape, x.shape[1:3]):
            full.append(NearestResize(size, name=f"{name}_up{number}")(total))
            total = x
            continue
        if total.shape[1:3] != x.shape[1:3]:
            total = NearestResize(x.shape[1:3], name=f"{name}_up{number}")(total)
        total = layers.Add(name=f"{name}_sum{number}")([x, total])
    return [*full, NearestResize(size, name=f"{name}_up")(total)]


def _method(layer: Any) -> Method | None:
    if isinstance(layer, NearestResize):
        return "nearest"
    if isinstance(layer, ResizeBilinear):
        return "bilinear_corners" if layer.align_corners else "bilinear"
    if isinstance(layer, layers.UpSampling2D) and layer.data_format == "channels_last":
        methods: dict[str, Method] = {"nearest": "nearest", "bilinear": "bilinear"}
        return methods.get(layer.interpolation)
    if isinstance(layer, layers.Resizing) and layer.data_format == "channels_last":
        plain = not (layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio or layer.antialias)
        methods = {"nearest": "nearest_centers", "bilinear": "bilinear"}
        return methods.get(layer.interpolation) if plain else None
    return None


def _divides(shape: tuple[int | None, ...], size: tuple[int | None, ...]) -> bool:
    """Return whether a map's height and width divide a size."""
    return all(side and large and large % side == 0 for side, large in zip(shape[1:3], size, strict=True))
