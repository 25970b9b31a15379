"""Rewrites, one in a file, and the order in which export uses them."""

from edgeseg_converters.rewrites.base import Applied, Refused, Rewrite, RewriteResult, Site, rewrite
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.upsample_conv import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize

#: What makes a model convertible, with builtin ops only.
SWAPS: tuple[Rewrite, ...] = (UpsampleLikeToNearestResize(), ResizeBilinearToFixedSize(), MaxUnpoolingToMasks())

#: What makes it faster and changes nothing beyond float rounding; after the swaps.
SPEED_UPS: tuple[Rewrite, ...] = (UpsampleConvToPhases(),)

__all__ = [
    # what to call, and what comes back
    "rewrite",
    "RewriteResult",
    "Applied",
    "Refused",
    # what to write a rule with
    "Rewrite",
    "Site",
    # the rules
    "SWAPS",
    "SPEED_UPS",
    "MaxUnpoolingToMasks",
    "ResizeBilinearToFixedSize",
    "UpsampleConvToPhases",
    "UpsampleLikeToNearestResize",
]
