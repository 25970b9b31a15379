"""Which rewrites serve which target, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.errors import InputError
from edgeseg.spec import Format, Target
from edgeseg_converters.rewrites.base import Rewrite
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.upsample_conv import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize
from edgeseg_converters.rewrites.upsampling_nearest import UpSamplingToNearestResize


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

#: Builtin ops only, which run anywhere; fast on a CPU.
_GENERIC = Rules(swaps=(*_SIZES, MaxUnpoolingToMasks()), speed_ups=(UpsampleConvToPhases(),))

#: For ONNX Runtime's CPU provider: what upsampling is left becomes one Resize.
_ONNX = Rules(swaps=_GENERIC.swaps, speed_ups=(*_GENERIC.speed_ups, UpSamplingToNearestResize()))

#: Format to what each of its targets gets.
RULES: dict[Format, dict[Target, Rules]] = {
    "tflite": {"generic": _GENERIC},
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
