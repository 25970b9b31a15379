"""List the rewrites of each format and target, in the order of use, and apply them: ``rewrite``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from edgeseg._internal.fields import short_repr
from edgeseg.choices import Format, Precision, Target
from edgeseg_converters.keras_model.graph import Graph
from edgeseg_converters.recipes import check_target
from edgeseg_converters.rewrites.activation_before_padding import ActivationBeforePadding
from edgeseg_converters.rewrites.base import Rewrite, RewriteResult, rewrite_graph
from edgeseg_converters.rewrites.max_unpooling import MaxUnpoolingToMasks
from edgeseg_converters.rewrites.max_unpooling_delegate import MaxUnpoolingToDelegateOps
from edgeseg_converters.rewrites.norm_to_depthwise import NormToDepthwise
from edgeseg_converters.rewrites.ops.base import OpRewrite
from edgeseg_converters.rewrites.ops.negative_zero import NegativeZeroToZero
from edgeseg_converters.rewrites.ops.patches import PatchesToCopies
from edgeseg_converters.rewrites.ops.pixel_shuffle import ReshapesToPixelShuffle
from edgeseg_converters.rewrites.ops.reversed_channels import ReversedChannelsToWeights
from edgeseg_converters.rewrites.ops.separable_resize import ResizeToProducts
from edgeseg_converters.rewrites.ops.transposed_convolution import DilatedTransposedToConvolution, ShortKernelToPadded
from edgeseg_converters.rewrites.ops.unpooling import UnpoolingOps
from edgeseg_converters.rewrites.pointwise_before_resize import PointwiseBeforeResize
from edgeseg_converters.rewrites.resize_bilinear import ResizeBilinearToFixedSize
from edgeseg_converters.rewrites.resize_code import ResizeCodeToLayer
from edgeseg_converters.rewrites.sum_in_steps import SumInSteps
from edgeseg_converters.rewrites.sum_of_resizes import ConcatOfResizesToSum
from edgeseg_converters.rewrites.upsample_conv_differences import UpsampleConvToDifferences
from edgeseg_converters.rewrites.upsample_conv_phases import UpsampleConvToPhases
from edgeseg_converters.rewrites.upsample_like import UpsampleLikeToNearestResize
from edgeseg_converters.rewrites.upsample_nearest import NearestResizeToBroadcast, UpsamplingToNearestResize
from edgeseg_converters.rewrites.winograd import ConvToWinograd


@dataclass(frozen=True)
class Rules:
    """The rewrites that an export applies, each tuple in the order of use.

    Attributes:
        swaps: make a model convertible; always applied.
        speed_ups: make it faster and change nothing beyond float rounding; ``optimize=False`` omits them.
        lowerings: turn the remaining layers of a kind into an op that the target has; always applied, after the
            speed-ups, which look for the layer.
        ops: replace ops that the format lacks, in the frozen function: whatever code they come from; always applied.
    """

    __repr__ = short_repr

    swaps: tuple[Rewrite, ...]
    speed_ups: tuple[Rewrite, ...]
    lowerings: tuple[Rewrite, ...]
    ops: tuple[OpRewrite, ...]

    def in_order(self, *, optimize: bool, precision: Precision = "fp32", learned: bool = False) -> tuple[Rewrite, ...]:
        """Return all rewrites to apply, in the order of use.

        Args:
            optimize: with the speed-ups or without.
            precision: of the artifact; rules that would hurt it are omitted.
            learned: whether the model learned the rounding of that precision; rules that move it are omitted.
        """
        chosen = (*self.swaps, *(self.speed_ups if optimize else ()), *self.lowerings)
        return tuple(rule for rule in chosen if precision not in rule.not_for and not (learned and rule.moves_rounding))


_SIZES: tuple[Rewrite, ...] = (
    ResizeCodeToLayer(),  # before those that go by a name, which anybody's class may have
    UpsampleLikeToNearestResize(),
    ResizeBilinearToFixedSize(),
)

#: Only builtin ops; exact on ties.
_MASKS = (*_SIZES, MaxUnpoolingToMasks())

#: Two ops that XNNPACK and the GPU accelerator have beyond the builtin ones.
_DELEGATE_OPS = (*_SIZES, MaxUnpoolingToDelegateOps())

_FOREIGN_OPS: tuple[OpRewrite, ...] = (
    NegativeZeroToZero(),
    DilatedTransposedToConvolution(),
    ResizeToProducts(),
    PatchesToCopies(),
)

# What TFLite has and its delegates do not: tensors of rank 6 and slices with a negative step. Core ML and the Edge TPU
# have no DEPTH_TO_SPACE either, which loses nothing there.
_CUTS: tuple[OpRewrite, ...] = (ReshapesToPixelShuffle(), ReversedChannelsToWeights())

_MASK_OPS = (*_FOREIGN_OPS, *_CUTS, UnpoolingOps(MaxUnpoolingToMasks()))
_DELEGATE_UNPOOLING = (*_FOREIGN_OPS, *_CUTS, UnpoolingOps(MaxUnpoolingToDelegateOps()))
# OpenVINO does not compile a quantized DepthToSpace, so that ONNX, of which its files are made, keeps the reshapes.
_ONNX_OPS: tuple[OpRewrite, ...] = (
    *_FOREIGN_OPS,
    ReversedChannelsToWeights(),
    ShortKernelToPadded(),
    UnpoolingOps(MaxUnpoolingToMasks()),
)

#: Fewer values are computed and moved, on any runtime.
_LESS_WORK: tuple[Rewrite, ...] = (PointwiseBeforeResize(), ConcatOfResizesToSum())

# After the rules that fold a normalization where they can.
_ON_ANY_CPU: tuple[Rewrite, ...] = (*_LESS_WORK, SumInSteps(), ActivationBeforePadding(), NormToDepthwise())

# From these numbers of channels on, the kernels of each runtime are faster. The phases serve the precisions that
# exclude the differences, which have twice the range: they match only what the rule before them did not replace.
_UPSAMPLING_ON_XNNPACK = (UpsampleConvToDifferences(min_channels=8), UpsampleConvToPhases(min_channels=8))
_ON_LITERT_CPU: tuple[Rewrite, ...] = (*_UPSAMPLING_ON_XNNPACK, *_ON_ANY_CPU)
# Winograd doubles the weights that it replaces, so only a target that names the delegate gets it, after the rules that
# save more. ONNX Runtime gained nothing from it with two threads.
_ON_XNNPACK: tuple[Rewrite, ...] = (*_UPSAMPLING_ON_XNNPACK, ConvToWinograd(), *_ON_ANY_CPU)
_ON_ONNX_RUNTIME: tuple[Rewrite, ...] = (
    UpsampleConvToDifferences(min_channels=48),
    UpsampleConvToPhases(min_channels=48),
    *_ON_ANY_CPU,
)

# No phases, which would serve int8: OpenVINO does not compile a quantized DepthToSpace, and MNN has no int8. In float
# the differences replace them. docs/rewrites.md has what benchmarks/rewrite_latency.py measured.
_ON_MNN_AND_OPENVINO: tuple[Rewrite, ...] = (UpsampleConvToDifferences(min_channels=48), *_ON_ANY_CPU)

_RESIZE: tuple[Rewrite, ...] = (UpsamplingToNearestResize(),)

#: The rules of each target, by format.
RULES: dict[Format, dict[Target, Rules]] = {
    "tflite": {
        # Only builtin ops, which run anywhere; fast on a CPU.
        "generic": Rules(_MASKS, _ON_LITERT_CPU, _RESIZE, _MASK_OPS),
        # XNNPACK has no RESIZE_NEAREST_NEIGHBOR.
        "xnnpack": Rules(_DELEGATE_OPS, _ON_XNNPACK, (*_RESIZE, NearestResizeToBroadcast()), _DELEGATE_UNPOOLING),
        # GPU runtimes have Winograd for 3x3 convolutions, and nothing was measured on a real GPU: no phases.
        "gpu": Rules(_DELEGATE_OPS, _LESS_WORK, _RESIZE, _DELEGATE_UNPOOLING),
        # No custom ops. The driver of a device decides about DEPTH_TO_SPACE, and none was measured: no phases.
        "nnapi": Rules(_MASKS, _LESS_WORK, _RESIZE, _MASK_OPS),
        # No DEPTH_TO_SPACE, so no phases: they would add a cut. It has nothing for unpooling or nearest resizes.
        "coreml": Rules(_MASKS, _LESS_WORK, _RESIZE, _MASK_OPS),
        # DEPTH_TO_SPACE is not in its table, so no phases; RESIZE_NEAREST_NEIGHBOR is.
        "edgetpu": Rules(_MASKS, _LESS_WORK, _RESIZE, _MASK_OPS),
        # It has a builder for every builtin op and none for custom ones; nothing was measured on a Hexagon: no phases.
        "qnn": Rules(_MASKS, _LESS_WORK, _RESIZE, _MASK_OPS),
    },
    "onnx": {"generic": Rules(_MASKS, _ON_ONNX_RUNTIME, _RESIZE, _ONNX_OPS)},
    "mnn": {"generic": Rules(_MASKS, _ON_MNN_AND_OPENVINO, _RESIZE, _ONNX_OPS)},
    "openvino": {"generic": Rules(_MASKS, _ON_MNN_AND_OPENVINO, _RESIZE, _ONNX_OPS)},
}


def rules_for(file_format: Format, target: Target = "generic") -> Rules:
    """Return the rewrites for a format and a target.

    Args:
        file_format: a name of ``Format``.
        target: ``generic``, or a delegate whose own ops and limits are taken into account.

    Raises:
        InputError: the format has no such target.
    """
    check_target(file_format, target)
    return RULES[file_format][target]


def rewrite(model: keras.Model, rules: Sequence[Rewrite] | None = None) -> RewriteResult:
    """Apply rules to a model one after the other, each wherever it holds; see ``rewrites.base.rewrite_graph``.

    Args:
        model: functional or Sequential; it is not changed.
        rules: in the order of use; when omitted, those of an export to TFLite, with the speed-ups, for any accelerator.

    Raises:
        UnsupportedModel: the model has no graph.

    Examples:
        >>> smaller = rewrite(model).model
    """
    chosen = rules_for("tflite").in_order(optimize=True) if rules is None else rules
    return rewrite_graph(model, Graph.from_model(model), chosen)
