"""Build ResNet-50 without its head, as the encoder of the SegNet tutorial and of unet-keras.

Architecture: He et al. 2015, "Deep Residual Learning", the first version: the stride is in the first 1x1 convolution
of a stage. Convolutions have a bias, and layers the names of Keras 2's own ResNet50 (``res2a_branch2a``,
``bn2a_branch2a``), so that its ImageNet weights fit.
"""

from __future__ import annotations

from typing import Literal, get_args

import keras
from keras import layers

from edgeseg.models.zoo.options import check_choice

PoolPadding = Literal["valid", "same", "zeros"]

# (blocks, channels inside a block) of stages 2 to 5; a block's output has four times as many.
_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))


def resnet50_encoder(
    input_size: tuple[int, int], *, pool_padding: PoolPadding
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Build the levels of ResNet-50.

    Args:
        input_size: ``(H, W)``, each divisible by 32.
        pool_padding: border of the 3x3 pooling: a pixel of ``zeros`` in unet-keras and in ``keras.applications``;
            none (``valid``) in the SegNet tutorial, where f2 is ``(H/4 - 1, W/4 - 1)`` and f3 to f5 are as with
            the others; ``same``, which for even sizes is a pixel right and below, in Semantic-Segmentation since 2021.

    Returns:
        The input ``(B, H, W, 3)``, and the levels f1 (1/2, 64 channels, after its ReLU), f2 (1/4, 256), f3 (1/8, 512),
        f4 (1/16, 1024) and f5 (1/32, 2048).

    Raises:
        InputError: ``pool_padding`` has another value.
    """
    check_choice("pool_padding", pool_padding, get_args(PoolPadding))
    inputs = layers.Input((*input_size, 3))
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(64, 7, strides=2, name="conv1")(x)
    x = layers.BatchNormalization(name="bn_conv1")(x)
    x = layers.Activation("relu")(x)
    levels = [x]
    if pool_padding == "zeros":
        x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same" if pool_padding == "same" else "valid")(x)
    for stage, (blocks, filters) in enumerate(_STAGES, start=2):
        for block in "abcdef"[:blocks]:
            x = _block(x, filters, f"{stage}{block}_branch", first=block == "a", strides=2 if stage > 2 else 1)
        levels.append(x)
    return inputs, levels


def _block(x: keras.KerasTensor, filters: int, name: str, *, first: bool, strides: int) -> keras.KerasTensor:
    """Add 1x1, 3x3 and 1x1 around a shortcut; the first block of a stage strides and has a 1x1 in its shortcut too."""

    def convolve(x: keras.KerasTensor, filters: int, kernel: int, strides: int, part: str) -> keras.KerasTensor:
        x = layers.Conv2D(filters, kernel, strides=strides, padding="same", name=f"res{name}{part}")(x)
        return layers.BatchNormalization(name=f"bn{name}{part}")(x)

    strides = strides if first else 1
    shortcut = convolve(x, 4 * filters, 1, strides, "1") if first else x
    x = layers.Activation("relu")(convolve(x, filters, 1, strides, "2a"))
    x = layers.Activation("relu")(convolve(x, filters, 3, 1, "2b"))
    x = layers.Add()([convolve(x, 4 * filters, 1, 1, "2c"), shortcut])
    return layers.Activation("relu")(x)
