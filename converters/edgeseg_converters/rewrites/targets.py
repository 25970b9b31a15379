"""Which rewrites serve which target, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.errors import InputError
from edgeseg.spec import Format, Target
from edgeseg_converters.rewrites.activation_before_padding import ActivationBeforePadding
from edgeseg_converters.rewrites.base import Rewrite
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.norm_to_depthwise import NormToDepthwise
from edgeseg_converters.rewrites.pointwise_before_resize import PointwiseBeforeResize
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.sum_in_steps import SumInSteps
from edgeseg_converters.rewrites.sum_of_resizes import ConcatOfResizesToSum
from edgeseg_converters.rewrites.upsample_conv_differences import UpsampleConvToDifferences
from edgeseg_converters.rewrites.upsample_conv_phases import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize


@dataclass(frozen=True)
class Rules:
    """What export applies, each tuple in the order of use.

    Attributes:
        swaps: make a model convertible, and are applied always.
        speed_ups: make it faster and change nothing beyond float rounding; ``--no-optimize`` leaves them out.
    """

    swaps: tuple[Rewrite, ...]
    speed_ups: tuple[Rewrite, ...]


_SIZES: tuple[Rewrite, ...] = (UpsampleLikeToNearestResize(), ResizeBilinearToFixedSize())

_SWAPS: tuple[Rewrite, ...] = (*_SIZES, MaxUnpoolingToMasks())

# What is cheaper on any runtime. The normalisations come last: the rules before them fold what they can.
_ANYWHERE: tuple[Rewrite, ...] = (
    PointwiseBeforeResize(),
    ConcatOfResizesToSum(),
    SumInSteps(),
    ActivationBeforePadding(),
    NormToDepthwise(),
)

# Builtin ops only, which run anywhere; the channel limits are where each runtime's CPU kernels begin to win.
_TFLITE = Rules(
    _SWAPS,
    speed_ups=(UpsampleConvToDifferences(min_channels=64), UpsampleConvToPhases(min_channels=8), *_ANYWHERE),
)
_ONNX = Rules(
    _SWAPS,
    speed_ups=(UpsampleConvToDifferences(min_channels=256), UpsampleConvToPhases(min_channels=64), *_ANYWHERE),
)

#: Format to what each of its targets gets.
RULES: dict[Format, dict[Target, Rules]] = {
    "tflite": {"generic": _TFLITE},
    "onnx": {"generic": _ONNX},
}


def rules_for(file_format: Format, target: Target = "generic") -> Rules:
    """The rewrites for a format and what will run it.

    Args:
        file_format: ``tflite`` or ``onnx``.
        target: ``generic``, or a delegate whose own ops and limits are taken into account.

    Raises:
        InputError: the format has no such target.
    """
    known = RULES[file_format]
    if target not in known:
        raise InputError(f"unknown target '{target}' for {file_format}; accepted: {', '.join(known)}.")
    return known[target]
