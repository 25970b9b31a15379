"""Collect the rewrite rules, one a file; ``targets`` says which of them an export applies, and in which order.

Those for ops of the frozen function are in ``ops``.
"""

from edgeseg_converters.rewrites.activation_before_padding import ActivationBeforePadding
from edgeseg_converters.rewrites.base import Applied, Refused, Rewrite, RewriteResult, Site
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.max_unpooling_delegate import MaxUnpoolingToDelegateOps
from edgeseg_converters.rewrites.norm_to_depthwise import NormToDepthwise
from edgeseg_converters.rewrites.pointwise_before_resize import PointwiseBeforeResize
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.resize_code import ResizeCodeToLayer
from edgeseg_converters.rewrites.sum_in_steps import SumInSteps
from edgeseg_converters.rewrites.sum_of_resizes import ConcatOfResizesToSum
from edgeseg_converters.rewrites.targets import RULES, Rules, rewrite, rules_for
from edgeseg_converters.rewrites.upsample_conv_differences import UpsampleConvToDifferences
from edgeseg_converters.rewrites.upsample_conv_phases import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize
from edgeseg_converters.rewrites.upsample_nearest import NearestResizeToBroadcast, UpsamplingToNearestResize
from edgeseg_converters.rewrites.winograd import ConvToWinograd

__all__ = [
    # entry point and its results
    "rewrite",
    "RewriteResult",
    "Applied",
    "Refused",
    # to write a rule
    "Rewrite",
    "Site",
    # rules by format and target
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
    "ResizeCodeToLayer",
    "SumInSteps",
    "UpsampleConvToDifferences",
    "UpsampleConvToPhases",
    "UpsampleLikeToNearestResize",
    "UpsamplingToNearestResize",
]
