"""Replaces ``MaxPoolingWithArgmax2D`` and its ``MaxUnpooling2D`` layers by builtin ops, without indices.

    Given:   p, index = MaxPoolingWithArgmax2D(2)(x)          x (B, 2h, 2w, C), p (B, h, w, C)
             u = MaxUnpooling2D(2)([v, index])                v (B, h, w, C), u (B, 2h, 2w, C)
    Result:  p = MaxPooling2D(2)(x)
             x_0, x_1, x_2, x_3 = the four pixels of each window, split from SpaceToDepth(2)(x)
             mask_k = (x_k == p), k = 0, 1, 2                 as 0.0 and 1.0
             u_k = mask_k * rest_k,  rest_0 = v,  rest_k+1 = rest_k - u_k,  u_3 = rest_3
             u = DepthToSpace(2)(concat(u_0, u_1, u_2, u_3))

The first pixel of a window that holds the maximum takes the value and leaves nothing for the others, so ties go where
the index went: to the first in row order. After a ReLU all-zero windows are common, and a mask of equality alone
would copy the value to all four pixels. No product rounds (the factor is 0 or 1) and no difference does (one side is
0 or both are equal), so the result is exact for every finite value.

Holds for windows of 2x2 that do not overlap, even sizes, and indices that only unpooling reads; of both index
conventions, since no index is left. Ops: SPACE_TO_DEPTH, SPLIT, EQUAL, CAST, MUL, SUB, CONCATENATION, DEPTH_TO_SPACE,
which both TFLite and ONNX have. Of the exact forms that were measured this is the fastest on LiteRT and ONNX Runtime:
a SELECT for each mask took 1.9 and 2.4 times as long.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops

from edgeseg.errors import RewriteRefused
from edgeseg_converters.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.lowered import DepthToSpace, SpaceToDepth

_UNPOOLING = "MaxUnpooling2D"


class MaxUnpoolingToMasks(Rewrite):
    """See the module. One site is a pooling with every unpooling that reads its index, wherever those are."""

    layer_class = "MaxPoolingWithArgmax2D"
    atol = 0.0  # exact, also on ties

    def match(self, graph: Graph, node: Node) -> Site | None:
        """The pooling and its unpoolings; a pooling whose index nobody reads is a site of one layer."""
        if node.kind != self.layer_class or len(node.outputs) != 2:
            return None
        return Site.of(graph, [node, *(user for user in graph.users(node.outputs[1]) if _unpools(user, node))])

    def check(self, site: Site) -> None:
        """Refuse other windows, odd sizes, mixed conventions, and indices that something else reads."""
        pool, *unpools = site.nodes
        index = pool.outputs[1]
        if index in site.outputs:
            users = [node.name for node in site.graph.users(index) if node not in site.nodes]
            raise RewriteRefused(
                f"its index is read by {', '.join(users) or 'the output of the model'}, not only by {_UNPOOLING}; "
                "the form without indices has none to give"
            )
        for node, attributes in ((pool, ("pool_size", "strides")), *((node, ("up_size",)) for node in unpools)):
            for attribute in attributes:
                window: Any = getattr(node.operation, attribute, 2)  # where a user's class lacks it the proof decides
                if window != 2 and tuple(window) != (2, 2):
                    raise RewriteRefused(f"'{node.name}' has {attribute} {window}; only 2x2 with stride 2 holds")
        height, width = pool.inputs[0].shape[1:3]
        if height is None or width is None or height % 2 or width % 2:
            raise RewriteRefused(
                f"the pooled map is {height}x{width}; height and width must be fixed and even. "
                "Export with an input size that halves evenly at every pooling"
            )
        conventions = {getattr(node.operation, "include_batch_in_index", False) for node in site.nodes}
        if len(conventions) > 1:
            raise RewriteRefused("pooling and unpooling disagree on include_batch_in_index")

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """The pooling keeps its name, and so does the last op of each unpooling."""
        pool, *unpools = site.nodes
        x = tensors[pool.inputs[0]]
        pooled = layers.MaxPooling2D(2, name=pool.name)(x)
        made = {pool.outputs[0]: pooled}
        if unpools:
            pixels = ops.split(SpaceToDepth(2, name=f"{pool.name}_pixels")(x), 4, axis=-1)
            masks = [ops.cast(ops.equal(pixel, pooled), pooled.dtype) for pixel in pixels[:3]]
        for node in unpools:
            values = node.inputs[0]
            rest: Any = tensors[values] if values in tensors else made[values]
            parts = []
            for mask in masks:
                parts.append(ops.multiply(mask, rest))
                rest = ops.subtract(rest, parts[-1])
            joined = layers.Concatenate(name=f"{node.name}_parts")([*parts, rest])
            made[node.outputs[0]] = DepthToSpace(2, name=node.name)(joined)
        return {value: made[value] for value in site.outputs}


def _unpools(user: Node, pool: Node) -> bool:
    return user.kind == _UNPOOLING and len(user.inputs) == 2 and user.inputs[1] is pool.outputs[1]
