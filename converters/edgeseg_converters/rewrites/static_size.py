"""What the resizing swaps refuse: a size that is known only when the model runs."""

from __future__ import annotations

from edgeseg.errors import RewriteRefused
from edgeseg_converters.rewrites.base import Site


def static_size(site: Site) -> tuple[int, int]:
    """The fixed size that a layer called on ``[source, like]`` resizes to.

    Args:
        site: of that one layer.

    Returns:
        ``(H, W)`` in pixels.

    Raises:
        RewriteRefused: it was called on something else, or a height or width is not fixed.
    """
    (node,) = site.nodes
    if len(node.inputs) != 2 or any(len(value.shape) != 4 for value in node.inputs):
        shapes = ", ".join(str(value.shape) for value in node.inputs)
        raise RewriteRefused(f"it takes [source, like], two maps (B, H, W, C); it was called on {shapes}")
    source, like = node.inputs
    for what, value in (("source", source), ("map that gives the size", like)):
        if None in value.shape[1:3]:
            raise RewriteRefused(f"the {what} is {value.shape}; build the model with a fixed input size")
    return like.shape[1] or 0, like.shape[2] or 0
