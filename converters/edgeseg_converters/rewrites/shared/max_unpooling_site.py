"""Match and check sites of ``MaxPoolingWithArgmax2D`` and ``MaxUnpooling2D``, for all rewrites of the two."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from keras import layers

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors

_UNPOOLING = "MaxUnpooling2D"


class MaxUnpoolingRewrite(Rewrite):
    """One site is a pooling with every unpooling that reads its index, wherever those are.

    Holds for windows of 2x2 that do not overlap, even sizes, and indices that only unpooling reads; for both index
    conventions, since none of the model's own indices remains.

    Attributes:
        keeps_index: whether the replacement has TensorFlow's pooling with indices too.
    """

    layer_class = "MaxPoolingWithArgmax2D"
    keeps_index = False
    atol = 0.0  # values are moved, and ties are decided as before

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a pooling and its unpoolings; a pooling whose index nobody reads is a site of one layer."""
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
                "the replacement has no such index"
            )
        for node, attributes in ((pool, ("pool_size", "strides")), *((node, ("up_size",)) for node in unpools)):
            for attribute in attributes:
                window: Any = getattr(node.operation, attribute, 2)  # where a user's class lacks it, the proof decides
                if window != 2 and tuple(window) != (2, 2):
                    raise RewriteRefused(f"'{node.name}' has {attribute} {window}; only 2x2 with stride 2 holds")
        self.check_map(pool.inputs[0].shape, pool.inputs[0].dtype)
        conventions = {getattr(node.operation, "include_batch_in_index", False) for node in site.nodes}
        if len(conventions) > 1:
            raise RewriteRefused("pooling and unpooling disagree on include_batch_in_index")

    def check_map(self, shape: tuple[int | None, ...], dtype: str) -> None:
        """Refuse a map ``(B, H, W, C)`` that cannot be pooled without indices.

        Raises:
            RewriteRefused: its sides are odd or not fixed.
        """
        height, width = shape[1:3]
        if height is None or width is None or height % 2 or width % 2:
            raise RewriteRefused(
                f"the pooled map is {height}x{width}; height and width must be fixed and even. "
                "Export with an input size that halves evenly at every pooling"
            )

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build the new pooling and unpoolings; the pooling and the last op of each unpooling keep their names."""
        pool, *unpools = site.nodes
        x = tensors[pool.inputs[0]]
        if not unpools:
            return {pool.outputs[0]: layers.MaxPooling2D(2, name=pool.name)(x)}
        pooled, where = self.pool(x, pool.name)
        made = {pool.outputs[0]: pooled}
        for node in unpools:
            (values, _) = node.inputs
            made[node.outputs[0]] = self.unpool(tensors.get(values, made.get(values)), where, node.name)
        return {value: made[value] for value in site.outputs}

    @abstractmethod
    def pool(self, x: Any, name: str) -> tuple[Any, Any]:
        """Pool a map.

        Args:
            x: ``(B, 2h, 2w, C)``.
            name: of the pooling.

        Returns:
            The pooled map ``(B, h, w, C)``, and what ``unpool`` needs to find the places of its values.
        """

    @abstractmethod
    def unpool(self, values: Any, where: Any, name: str) -> Any:
        """Put values back where the maxima were.

        Args:
            values: ``(B, h, w, C)``.
            where: the second result of ``pool``.
            name: of the unpooling.

        Returns:
            ``(B, 2h, 2w, C)``, zero elsewhere.
        """


def _unpools(user: Node, pool: Node) -> bool:
    return user.kind == _UNPOOLING and len(user.inputs) == 2 and user.inputs[1] is pool.outputs[1]
