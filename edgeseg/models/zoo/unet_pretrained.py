"""Build U-Net on VGG-16 and on ResNet-50, as in unet-keras.

Keras 2 named the convolutions of its decoder (``conv2d_1``, ``conv2d_2``, ...); they have those names here on
purpose: Keras 3 would start at ``conv2d`` and every weight would be off by one.

Architecture: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import keras
from keras import layers

from edgeseg.models.zoo.backbones.resnet import resnet50_encoder
from edgeseg.models.zoo.backbones.vgg16 import vgg16_encoder


def unet_vgg16(*, num_classes: int, input_size: tuple[int, int]) -> keras.Model:
    """Build VGG-16 levels f1 to f5 under a decoder of 512, 256, 128 and 64 channels.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 16.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.
    """
    inputs, levels = vgg16_encoder(input_size)
    numbers = itertools.count(1)
    x = _decoder(levels, numbers)
    logits = layers.Conv2D(num_classes, 1, name=f"conv2d_{next(numbers)}")(x)
    return keras.Model(inputs, logits, name="unet_vgg16")


def unet_resnet50(
    *, num_classes: int, input_size: tuple[int, int], pool_padding: Literal["zeros", "same"] = "zeros"
) -> keras.Model:
    """Build ResNet-50 levels f1 to f5 under the decoder of ``unet_vgg16``, with one more step from half to full size.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 32.
        pool_padding: border of the encoder's 3x3 pooling, see ``resnet50_encoder``.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.
    """
    inputs, levels = resnet50_encoder(input_size, pool_padding=pool_padding)
    numbers = itertools.count(1)
    x = _decoder(levels, numbers)
    x = _two_convolutions(layers.UpSampling2D(2)(x), 64, numbers)
    logits = layers.Conv2D(num_classes, 1, name=f"conv2d_{next(numbers)}")(x)
    return keras.Model(inputs, logits, name="unet_resnet50")


def _decoder(levels: list[keras.KerasTensor], numbers: Iterator[int]) -> keras.KerasTensor:
    """Add steps from f5 up to f1: nearest x2, the encoder's level first in the concatenation, two convolutions."""
    *skips, x = levels
    for skip, filters in zip(reversed(skips), (512, 256, 128, 64), strict=True):
        x = layers.Concatenate()([skip, layers.UpSampling2D(2)(x)])
        x = _two_convolutions(x, filters, numbers)
    return x


def _two_convolutions(x: keras.KerasTensor, filters: int, numbers: Iterator[int]) -> keras.KerasTensor:
    for _ in range(2):
        name = f"conv2d_{next(numbers)}"
        x = layers.Conv2D(filters, 3, activation="relu", padding="same", kernel_initializer="he_normal", name=name)(x)
    return x
