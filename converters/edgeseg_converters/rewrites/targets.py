"""Which rewrites serve which target, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.errors import InputError
from edgeseg.spec import Format, Target
from edgeseg_converters.rewrites.base import Rewrite
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.max_unpooling_delegate import MaxUnpoolingToDelegateOps
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.upsample_conv import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize
from edgeseg_converters.rewrites.upsample_nearest import NearestResizeToBroadcast, UpsamplingToNearestResize


@dataclass(frozen=True)
class Rules:
    """What export applies, each tuple in the order of use.

    Attributes:
        swaps: make a model convertible, and are applied always.
        speed_ups: make it faster and change nothing beyond float rounding; ``--no-optimize`` leaves them out.
        lowerings: put what is left of a layer into an op that the target has. Always, and behind the speed-ups, which
            look for the layer.
    """

    swaps: tuple[Rewrite, ...]
    speed_ups: tuple[Rewrite, ...]
    lowerings: tuple[Rewrite, ...]

    def in_order(self, *, optimize: bool) -> tuple[Rewrite, ...]:
        """All that is applied, with the speed-ups or without."""
        return (*self.swaps, *(self.speed_ups if optimize else ()), *self.lowerings)


_SIZES: tuple[Rewrite, ...] = (UpsampleLikeToNearestResize(), ResizeBilinearToFixedSize())

#: Builtin ops alone, exact on ties.
_MASKS = (*_SIZES, MaxUnpoolingToMasks())

#: Two ops that XNNPACK and the GPU accelerator have beyond the builtin ones.
_DELEGATE_OPS = (*_SIZES, MaxUnpoolingToDelegateOps())

#: A speed-up is used where it was measured to pay, and that was the CPU.
_ON_CPU: tuple[Rewrite, ...] = (UpsampleConvToPhases(),)

_RESIZE: tuple[Rewrite, ...] = (UpsamplingToNearestResize(),)

#: Builtin ops only, which run anywhere; fast on a CPU.
_GENERIC = Rules(swaps=_MASKS, speed_ups=_ON_CPU, lowerings=_RESIZE)

#: Format to what each of its targets gets.
RULES: dict[Format, dict[Target, Rules]] = {
    "tflite": {
        "generic": _GENERIC,
        # XNNPACK has no RESIZE_NEAREST_NEIGHBOR.
        "xnnpack": Rules(_DELEGATE_OPS, _ON_CPU, (*_RESIZE, NearestResizeToBroadcast())),
        # No speed-ups: GPU runtimes have Winograd for 3x3 convolutions, and nothing was measured on a real GPU.
        "gpu": Rules(_DELEGATE_OPS, (), _RESIZE),
        # No custom ops. The driver of a device decides about DEPTH_TO_SPACE, and none was measured: no speed-ups.
        "nnapi": Rules(_MASKS, (), _RESIZE),
        # No DEPTH_TO_SPACE, so no phases: they would add a cut. It has nothing for unpooling or nearest resizes.
        "coreml": Rules(_MASKS, (), _RESIZE),
        # DEPTH_TO_SPACE is not in its table, so no phases; RESIZE_NEAREST_NEIGHBOR is.
        "edgetpu": Rules(_MASKS, (), _RESIZE),
        # A builder for every builtin op and none for custom ones; nothing was measured on a Hexagon: no speed-ups.
        "qnn": Rules(_MASKS, (), _RESIZE),
    },
    "onnx": {"generic": _GENERIC},
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
