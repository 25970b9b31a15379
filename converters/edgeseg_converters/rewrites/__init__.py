"""Rewrites, one in a file, and ``targets``: which of them export uses for what, in which order."""

from edgeseg_converters.rewrites.activation_before_padding import ActivationBeforePadding
from edgeseg_converters.rewrites.base import Applied, Refused, Rewrite, RewriteResult, Site, rewrite
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.max_unpooling_delegate import MaxUnpoolingToDelegateOps
from edgeseg_converters.rewrites.norm_to_depthwise import NormToDepthwise
from edgeseg_converters.rewrites.pointwise_before_resize import PointwiseBeforeResize
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.sum_in_steps import SumInSteps
from edgeseg_converters.rewrites.sum_of_resizes import ConcatOfResizesToSum
from edgeseg_converters.rewrites.targets import RULES, Rules, rules_for
from edgeseg_converters.rewrites.upsample_conv_differences import UpsampleConvToDifferences
from edgeseg_converters.rewrites.upsample_conv_phases import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize
from edgeseg_converters.rewrites.upsample_nearest import NearestResizeToBroadcast, UpsamplingToNearestResize
from edgeseg_converters.rewrites.winograd import ConvToWinograd

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
    "ActivationBeforePadding",
    "ConcatOfResizesToSum",
    "ConvToWinograd",
    "MaxUnpoolingToDelegateOps",
    "MaxUnpoolingToMasks",
    "NearestResizeToBroadcast",
    "NormToDepthwise",
    "PointwiseBeforeResize",
    "ResizeBilinearToFixedSize",
    "SumInSteps",
    "UpsampleConvToDifferences",
    "UpsampleConvToPhases",
    "UpsampleLikeToNearestResize",
    "UpsamplingToNearestResize",
]
