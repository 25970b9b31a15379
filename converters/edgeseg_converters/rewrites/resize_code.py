"""Replace a resize in code of any name by the layer that the other rules look for.

    Given:   y = f(x) or f(x, like), which is one ResizeNearestNeighbor or ResizeBilinear of x
    Result:  y = NearestResize((H, W))(x)                    floor(i * h / H); half pixels too for whole factors
             y = Resizing(H, W, "nearest")(x)                half pixels
             y = ResizeBilinear((H, W), align_corners)(x)    corners, or half pixels

f is a class of the user's, such as another project's ``UpsampleLike``, or ``keras.ops.image.resize``. What it does is
read from the trace that TensorFlow makes of it. The op itself would convert as it is; but rules that move or join
resizes, and the form of a target, only know layers, and the fixed size no longer keeps ``like`` in memory.

Holds when h, w, H and W are fixed, and f has no weights. Exact: the same op with the same arguments.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from edgeseg.models.ending import fed_from, source, traced
from edgeseg.models.layers import ResizeBilinear
from edgeseg_converters.keras_model.graph import Graph, Node, Value
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.lowered import NearestResize
from edgeseg_converters.rewrites.shared.own_code import has_own_code

_RESIZES = ("ResizeNearestNeighbor", "ResizeBilinear")


class ResizeCodeToLayer(Rewrite):
    """See the module."""

    layer_class = ""  # of any name
    atol = 0.0  # the same op with the same arguments

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a layer or an operation whose only op, but for those on shapes, is a resize that a layer has."""
        is_known = isinstance(node.operation, layers.Layer) and not has_own_code(node.operation)
        if is_known or not _changes_size(node) or _resize(node) is None:
            return None
        return Site.of(graph, [node])

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build one layer with the name of the old one."""
        (node,) = site.nodes
        resize = _resize(node)
        assert resize is not None  # else no site
        x, layer = resize
        return {node.outputs[0]: layer(tensors[x])}


def _changes_size(node: Node) -> bool:
    """Return whether a node makes one map of another fixed size from a map, without weights."""
    maps = [value.shape for value in (*node.inputs[:2], *node.outputs) if len(value.shape) == 4]
    if len(node.outputs) != 1 or not 1 < len(maps) == len(node.inputs) + 1 or any(None in m[1:3] for m in maps):
        return False
    return maps[-1][1:3] != maps[0][1:3] and maps[-1][3] == maps[0][3] and not getattr(node.operation, "weights", ())


def _resize(node: Node) -> tuple[Value, Any] | None:
    """Return what a node resizes, and a layer that does the same; ``None`` where it does something else."""
    (result,) = node.outputs
    op = source(traced(node, result)).op
    x = fed_from(node, source(op.inputs[0])) if op.type in _RESIZES else None
    if x is None:
        return None
    size = (result.shape[1] or 0, result.shape[2] or 0)
    corners, half = op.get_attr("align_corners"), op.get_attr("half_pixel_centers")
    if op.type == "ResizeBilinear":
        return (x, ResizeBilinear(size, align_corners=corners, name=node.name)) if corners != half else None
    is_whole = all(large % (side or 1) == 0 for large, side in zip(size, x.shape[1:3], strict=True))
    if corners:
        return None
    if half and not is_whole:
        return x, layers.Resizing(*size, interpolation="nearest", name=node.name)
    return x, NearestResize(size, name=node.name)
