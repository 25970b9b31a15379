"""Rewrites, one in a file, and ``targets``: which of them export uses for what, in which order."""

from edgeseg_converters.rewrites.base import Applied, Refused, Rewrite, RewriteResult, Site, rewrite
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.targets import RULES, Rules, rules_for
from edgeseg_converters.rewrites.upsample_conv import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize
from edgeseg_converters.rewrites.upsampling_nearest import UpSamplingToNearestResize

__all__ = [
    # what to call, and what comes back
    "rewrite",
    "RewriteResult",
    "Applied",
    "Refused",
    # what to write a rule with
    "Rewrite",
    "Site",
    # which rules for what
    "rules_for",
    "Rules",
    "RULES",
    # the rules
    "MaxUnpoolingToMasks",
    "ResizeBilinearToFixedSize",
    "UpsampleConvToPhases",
    "UpsampleLikeToNearestResize",
    "UpSamplingToNearestResize",
]
