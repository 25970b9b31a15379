"""Define the integers of an exported file, and round values onto them with gradients that pass through.

A tensor is kept as whole numbers in float32 that count steps from zero, ``real = number * scale``: a convolution of
such numbers is exact up to 2^24, so that the same number is rounded as in an integer kernel. All functions are of
``keras.ops``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from edgeseg.choices import TrainedFormat, TrainedPrecision

# The least largest weight of a channel, as litert-quantizer has it; a channel of zeros has a scale too.
_LEAST_BOUND = 1e-9


def byte_of_zero(mean: float) -> int:
    """Return the byte that means 0 in the integers of an image that is normalized as bytes minus ``mean``.

    Of a mean of 127.5 it is the one before, as the quantizers round the bias of a convolution that normalizes.
    """
    return math.ceil(mean - 0.5)


@dataclass(frozen=True)
class Scheme:
    """The integers of a file.

    Attributes:
        precision: ``int8``, activations with a zero point; or ``w8a16``, int16 activations without one.
        file_format: whose quantizer and kernels are followed; ONNX Runtime's weights have 7 bits, see
            ``edgeseg_converters.onnx.quantize``.
    """

    precision: TrainedPrecision = "int8"
    file_format: TrainedFormat = "tflite"

    @property
    def is_symmetric(self) -> bool:
        """Whether activations have no zero point."""
        return self.precision == "w8a16"

    def end(self, highest: float | None) -> float | None:
        """Return where the range of a value ends that an activation gives, also where it is joined to other values.

        ONNX Runtime's quantizer omits a ReLU or ReLU6 and lets the integers do what it does, and its kernel of Concat
        takes several scales. litert-quantizer fuses the activation, and gives all that are joined one scale.

        Args:
            highest: what the activation gives at most, and none of them less than zero; see ``Plan``.

        Returns:
            ``highest``; ``None`` where the range is the one that was learned.
        """
        return highest if self.file_format == "onnx" else None

    def largest_weight(self, *, depthwise: bool) -> int:
        """Return the integer of the largest weight of a channel."""
        return 127 if depthwise or self.file_format != "onnx" else 64

    def grid(self, low: Any, high: Any) -> Grid:
        """Return the integers of an activation.

        Args:
            low: the end of the range, 0 or less.
            high: the other end, 0 or more.
        """
        if self.is_symmetric:
            scale = ops.maximum(ops.maximum(-low, high), _LEAST_BOUND) / 32767.0
            most = ops.full_like(scale, 32767.0)
            return Grid(scale, -most, most)
        scale = ops.maximum(high - low, _LEAST_BOUND) / 255.0
        least = rounded(low / scale)
        return Grid(scale, least, least + 255.0)


@dataclass(frozen=True)
class Grid:
    """The integers of one activation.

    Attributes:
        scale: of a step.
        least: the smallest number of steps from zero.
        most: the largest.
    """

    scale: Any
    least: Any
    most: Any

    def limits(self, activation: str) -> tuple[Any, Any]:
        """Return the smallest and the largest number that a kernel with a fused activation gives."""
        if activation == "linear":
            return self.least, self.most
        least = ops.maximum(self.least, 0.0)
        if activation == "relu":
            return least, self.most
        return least, ops.minimum(self.most, rounded(6.0 / self.scale))


def through(exact: Any, slope: Any) -> Any:
    """Return ``exact``, with the gradient of ``slope``."""
    return slope + ops.stop_gradient(exact - slope)


def rounded(values: Any) -> Any:
    """Round to the nearest whole number, a half to the even one, with the gradient of the identity."""
    return through(ops.round(values), values)


def clipped(values: Any, least: Any, most: Any) -> Any:
    """Clip values; beyond a limit the gradient is that limit's, which is how a range learns."""
    return ops.maximum(ops.minimum(values, most), least)


def quantized_weights(kernel: Any, axes: tuple[int, ...], largest: int) -> tuple[Any, Any]:
    """Round a kernel onto integers with a scale for each output channel.

    Args:
        kernel: float32.
        axes: all but those of the output channels.
        largest: see ``Scheme.largest_weight``.

    Returns:
        The numbers, of the kernel's shape, and the scales, with an axis of 1 where ``axes`` were.
    """
    bound = ops.max(ops.absolute(kernel), axis=axes, keepdims=True)
    scale = ops.stop_gradient(ops.maximum(bound, _LEAST_BOUND) / float(largest))
    return rounded(clipped(kernel / scale, -float(largest), float(largest))), scale
