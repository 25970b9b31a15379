"""Build U-Net on EfficientNet-Lite0: an encoder without squeeze-excite or swish, made for integer accelerators.

Encoder: Tan and Le 2019, "EfficientNet", in the Lite form of tensorflow/tpu (ReLU6, no squeeze-excite); its ImageNet
weights are read by ``edgeseg.models.encoders.efficientnet_lite0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from edgeseg.models.zoo.options import WeightShapes

#: ``(repeats, kernel, stride of the first, expansion, output channels)`` of each stage: table 1 of the paper.
#: Its seventh stage (320 channels, at the same 1/32 as the sixth) is omitted: a fifth of the parameters
#: for features that only a classifier's head needs.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
)
_BN_EPSILON = 1e-3


def efficientnet_lite0_unet(
    *,
    num_classes: int,
    input_size: tuple[int, int],
    decoder_filters: tuple[int, ...] = (128, 96, 64, 48),
) -> keras.Model:
    """Build an EfficientNet-Lite0 encoder and a decoder of x2 steps: bilinear, skip, two separable convolutions.

    The logits are computed at half size, where their 1x1 convolution is cheap, and resized once.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 32.
        decoder_filters: channels of the decoder at 1/16, 1/8, 1/4 and 1/2.

    Returns:
        A model from ``(B, H, W, 3)`` float32, ``(pixel - 127) / 128``, to logits ``(B, H, W, num_classes)``.
    """
    inputs, levels = efficientnet_lite0_encoder(input_size)
    logits = light_decoder(levels, num_classes, decoder_filters)
    return keras.Model(inputs, doubled(logits), name="efficientnet_lite0_unet")


def light_decoder(levels: Sequence[keras.KerasTensor], num_classes: int, filters: Sequence[int]) -> keras.KerasTensor:
    """Build a decoder of x2 steps: bilinear, skip, two separable convolutions.

    Args:
        levels: of an encoder, the finest first, each at half the size of the one before.
        num_classes: number of output channels.
        filters: channels of each step, one step fewer than there are levels.

    Returns:
        Logits of the size of the finest level.
    """
    x = levels[-1]
    for index, (skip, channels) in enumerate(zip(reversed(levels[:-1]), filters, strict=True), start=1):
        name = f"decoder{index}"
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_concat")([x, skip])
        for part in "ab":
            x = _depthwise(x, 3, 1, f"{name}{part}_dw")
            x = _pointwise(x, channels, f"{name}{part}_pw", activation=True)
    return layers.Conv2D(num_classes, 1, name="logits")(x)


def doubled(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return logits at twice their size."""
    return layers.UpSampling2D(2, interpolation="bilinear", name="logits_up")(logits)


def efficientnet_lite0_encoder(
    input_size: tuple[int, int], num_stages: int = len(STAGES)
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Build EfficientNet-Lite0 without its head.

    Args:
        input_size: ``(H, W)`` in pixels.
        num_stages: of ``STAGES``, from the first on.

    Returns:
        The input ``(B, H, W, 3)``, and the levels at 1/2, 1/4, 1/8, 1/16 and 1/32 (16, 24, 40, 112, 192 channels); up
        to 1/16 with five stages.
    """
    inputs = layers.Input((*input_size, 3))
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_activation")(x)
    levels = []
    for stage, (repeats, kernel, first_stride, expansion, filters) in enumerate(STAGES[:num_stages], start=1):
        if first_stride == 2:
            levels.append(x)
        for repeat in range(repeats):
            name = f"block{stage}{'abcd'[repeat]}"
            shortcut, channels = x, x.shape[-1]
            if expansion != 1:
                x = _pointwise(x, channels * expansion, f"{name}_expand", activation=True)
            x = _depthwise(x, kernel, first_stride if repeat == 0 else 1, f"{name}_dw")
            x = _pointwise(x, filters, f"{name}_project", activation=False)
            if repeat > 0:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
    return inputs, [*levels, x]


def options_in(shapes: WeightShapes) -> dict[str, Any]:
    """Return the options that the shapes of weights say."""
    found = [shapes.kernels.get(f"decoder{index}b_pw") for index in range(1, 5)]
    return {"decoder_filters": tuple(shape[-1] for shape in found if shape)} if all(found) else {}


def _pointwise(x: keras.KerasTensor, filters: int, name: str, *, activation: bool) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 1, use_bias=False, name=name)(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x) if activation else x


def _depthwise(x: keras.KerasTensor, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x)
