"""Compute what the kernels of a runtime do with whole numbers: convolutions, sums, pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from edgeseg.training.quantization.resizes import coordinates_of, resized
from edgeseg.training.quantization.scheme import Grid, Scheme, rounded, through
from edgeseg.training.quantization.steps import Step

# A half of a mean is exact but for the backend's rounding, which this covers.
_NEARLY = 1e-4


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """The weights of a filter.

    Attributes:
        weights: as the layer has them.
        bias: ``(C,)``, or ``None``.
        axes: of the weights, all but those of the output channels.
        per_channel: shape of an array ``(C,)`` that multiplies the weights.
        is_depthwise: whether each input channel has filters of its own.
    """

    weights: Any
    bias: Any
    axes: tuple[int, ...]
    per_channel: tuple[int, ...]
    is_depthwise: bool


def kernel_of(step: Step) -> Kernel:
    """Return the weights of a step of the kind ``filter``."""
    layer = step.operation
    bias = getattr(layer, "bias", None) if getattr(layer, "use_bias", False) else None
    kind = type(layer).__name__
    if kind == "BatchNormalization":
        channels = layer.moving_mean.shape[0]
        ones = ops.ones((1, channels))
        return Kernel(weights=ones, bias=None, axes=(0,), per_channel=(1, channels), is_depthwise=True)
    if step.part == "depthwise":
        return _depthwise(layer.depthwise_kernel, None)
    if kind == "DepthwiseConv2D":
        return _depthwise(layer.kernel, bias)
    weights = layer.pointwise_kernel if step.part == "pointwise" else layer.kernel
    if kind == "Conv2DTranspose":
        return Kernel(weights=weights, bias=bias, axes=(0, 1, 3), per_channel=(1, 1, -1, 1), is_depthwise=False)
    axes = tuple(range(len(weights.shape) - 1))
    is_depthwise = len(axes) == 3 and getattr(layer, "groups", 1) > 1 and weights.shape[2] == 1
    per_channel = (1,) * len(axes) + (-1,)
    return Kernel(weights=weights, bias=bias, axes=axes, per_channel=per_channel, is_depthwise=is_depthwise)


def _depthwise(weights: Any, bias: Any) -> Kernel:
    shape = (1, 1, *weights.shape[2:])
    return Kernel(weights=weights, bias=bias, axes=(0, 1), per_channel=shape, is_depthwise=True)


def convolved(step: Step, x: Any, weights: Any) -> Any:
    """Return what a filter gives, without its bias."""
    layer, kind = step.operation, type(step.operation).__name__
    if kind == "BatchNormalization":
        return x * ops.reshape(weights, (-1,))
    if kind == "Dense":
        return ops.matmul(x, weights)
    if step.part == "pointwise":
        return ops.conv(x, weights, strides=1, padding="valid", data_format="channels_last")
    shape = {
        "strides": tuple(layer.strides),
        "padding": layer.padding,
        "data_format": "channels_last",
        "dilation_rate": tuple(layer.dilation_rate),
    }
    if step.part == "depthwise" or kind == "DepthwiseConv2D":
        return ops.depthwise_conv(x, weights, **shape)
    if kind == "Conv2DTranspose":
        return ops.conv_transpose(x, weights, output_padding=layer.output_padding, **shape)
    return ops.conv(x, weights, **shape)


def moved(step: Step, given: Any, numbers: Any, grid: Grid, scheme: Scheme, *, training: bool) -> Any:
    """Round the result of a layer that moves values, as far as it averages them.

    Args:
        step: of the kind ``move``.
        given: the whole numbers that the layer got.
        numbers: what the layer makes of them.
        grid: of the input.
        scheme: the integers.
        training: whether it is enough to round to the nearest.
    """
    kind = type(step.operation).__name__
    if kind == "AveragePooling2D":
        return through(_rounded_mean(numbers, grid, scheme), numbers)
    coordinates = coordinates_of(step.operation)
    if coordinates is None:
        return numbers
    if not training:
        return resized(given, numbers.shape[1:3], coordinates, grid, scheme)
    if scheme.file_format == "tflite":  # exact up to a few values near a half
        return through(ops.floor(numbers + (0.5 + _NEARLY)), numbers)
    return rounded(numbers)


def _rounded_mean(numbers: Any, grid: Grid, scheme: Scheme) -> Any:
    """Round a mean: TFLite's kernel away from its own zero, ONNX Runtime's to the nearest even."""
    if scheme.file_format != "tflite":
        return ops.round(numbers)
    lowest = -32767.0 if scheme.is_symmetric else -128.0
    zero = lowest - grid.least  # the integer of 0
    stored = numbers + zero
    return ops.sign(stored) * ops.floor(ops.absolute(stored) + (0.5 + _NEARLY)) - zero


def _fused(x: Any, factor: Any, summand: Any) -> Any:
    """Return ``x * factor + summand``, rounded once; with JAX twice, which has no float64 unless it is told to."""
    wide = "float32" if keras.backend.backend() == "jax" else "float64"
    return ops.cast(ops.cast(x, wide) * ops.cast(factor, wide) + ops.cast(summand, wide), "float32")


def product(given: list[Any], sources: list[Grid], grid: Grid, scheme: Scheme) -> Any:
    """Return the product of two activations in steps of the result; rounding it gives what the kernel gives.

    ONNX Runtime's kernel rounds with the zero point of the result added: with an odd one, halves go the other way. A
    swish has many, as the steps of its sigmoid are 1/256.
    """
    ratio = sources[0].scale * sources[1].scale / grid.scale
    exact = given[0] * given[1] * ratio
    if scheme.file_format != "onnx" or scheme.is_symmetric:
        return exact
    stored = _fused(given[0] * given[1], ratio, -grid.least)
    return through(ops.round(stored) + grid.least, exact)


def exact_sum(given: list[Any], sources: list[Grid], grid: Grid, scheme: Scheme) -> Any:
    """Return the sum of two activations in steps of the result, rounded as in the kernel.

    XNNPACK's multiplies by integers of about 20 bits and shifts; ONNX Runtime's, on x86, computes in float32, from zero
    points on, with fused multiplications.
    """
    ratios = [source.scale / grid.scale for source in sources]
    if scheme.is_symmetric:
        return given[0] * ratios[0] + given[1] * ratios[1]
    if scheme.file_format == "onnx":
        zeros = [-source.least for source in sources]
        total = -grid.least - _fused(zeros[0], ratios[0], ratios[1] * zeros[1])
        for x, zero, ratio in zip(given[::-1], zeros[::-1], ratios[::-1], strict=True):
            total = _fused(x + zero, ratio, total)
        return ops.round(total) + grid.least
    largest = ops.maximum(ratios[0], ratios[1])
    exponent = ops.floor(ops.log2(largest))
    factor = ops.power(2.0, 20.0 - exponent)
    factors = [ops.cast(ops.round(ratio * factor), "int32") for ratio in ratios]
    shift = ops.cast(20.0 - exponent, "int32")
    total = sum(ops.cast(x, "int32") * each for x, each in zip(given, factors, strict=True))
    half = ops.left_shift(ops.ones_like(shift), shift - 1)
    return ops.cast(ops.right_shift(total + half, shift), "float32")
