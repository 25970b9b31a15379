"""Build the MobileNetV2 encoder of DeepLabv3+: dilation replaces its last strides.

Layers have the names of the Keras DeepLabv3+ ports (``Conv``, ``expanded_conv_3_depthwise``, ...).

Architecture: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks"; strides and dilations
as in Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation".
"""

from __future__ import annotations

import keras
from keras import layers

# (expansion, output channels, repeats, stride of the first) of each stage: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LOW_LEVEL_BLOCK = 2  # the last at 1/4


def mobilenetv2_encoder(
    input_size: tuple[int, int], *, output_stride: int = 16, alpha: float = 1.0
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Build MobileNetV2 without its head, at 1/16 or 1/8.

    Args:
        input_size: ``(H, W)`` in pixels.
        output_stride: 16 or 8: how much smaller than the input the features are.
        alpha: factor of all widths, rounded to multiples of 8.

    Returns:
        The input ``(B, H, W, 3)``, the low-level features at 1/4 (24 channels when ``alpha`` is 1),
        and the features at ``1/output_stride`` (320 channels).
    """
    inputs = layers.Input((*input_size, 3))
    x = layers.Conv2D(divisible_by_8(32 * alpha), 3, 2, "same", use_bias=False, name="Conv")(inputs)
    x = layers.ReLU(6.0, name="Conv_Relu6")(_batch_norm(x, "Conv"))
    low_level = x
    block, reached, rate = 0, 2, 1
    for expansion, filters, repeats, first_stride in _STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            # A stride beyond the output stride is not taken; the blocks after it have twice the dilation instead.
            dropped = stride == 2 and reached == output_stride
            reached *= 1 if dropped else stride
            width = divisible_by_8(int(filters * alpha))
            y = _inverted_residual(x, expansion, width, 1 if dropped else stride, rate, block)
            x = layers.Add(name=f"expanded_conv_{block}_add")([x, y]) if repeat else y
            rate *= 2 if dropped else 1
            if block == _LOW_LEVEL_BLOCK:
                low_level = x
            block += 1
    return inputs, low_level, x


def divisible_by_8(filters: float) -> int:
    """Return the nearest multiple of 8, at least 8, and never below nine tenths of ``filters``."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8


def _inverted_residual(
    x: keras.KerasTensor, expansion: int, filters: int, stride: int, rate: int, block: int
) -> keras.KerasTensor:
    name = f"expanded_conv_{block}" if block else "expanded_conv"
    if expansion != 1:
        x = layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x)
        x = layers.ReLU(6.0, name=f"{name}_expand_relu")(_batch_norm(x, f"{name}_expand"))
    x = layers.DepthwiseConv2D(3, stride, "same", dilation_rate=rate, use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(_batch_norm(x, f"{name}_depthwise"))
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(x)
    return _batch_norm(x, f"{name}_project")


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=0.999, epsilon=1e-3, name=f"{name}_BN")(x)
