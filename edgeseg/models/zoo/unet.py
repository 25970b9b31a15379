"""Build U-Net as in the "Python deep learning: Unet" tutorial: a small plain one, and one on MobileNet.

Layers that the tutorial leaves to Keras 2 to name (``conv2d_1``, ``batch_normalization_1``, ...) have those names here
on purpose: Keras 3 would start at ``conv2d`` and every weight would be off by one.

Architecture: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation";
encoder of the second: Howard et al. 2017, "MobileNets".
"""

from __future__ import annotations

import itertools

import keras
from keras import layers


def unet_mini(*, num_classes: int, input_size: tuple[int, int], dropout: float = 0.2) -> keras.Model:
    """Build the tutorial's ``unet_mini``: 32, 64 and 128 channels, two poolings, nearest upsampling.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 4.
        dropout: rate between the two convolutions of every block.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.
    """
    numbers = itertools.count(1)

    def block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        x = layers.Conv2D(filters, 3, activation="relu", padding="same", name=f"conv2d_{next(numbers)}")(x)
        x = layers.Dropout(dropout)(x)
        return layers.Conv2D(filters, 3, activation="relu", padding="same", name=f"conv2d_{next(numbers)}")(x)

    inputs = layers.Input((*input_size, 3))
    f1 = block(inputs, 32)  # (B, H, W, 32)
    f2 = block(layers.MaxPooling2D(2, strides=2)(f1), 64)  # (B, H/2, W/2, 64)
    f3 = block(layers.MaxPooling2D(2, strides=2)(f2), 128)  # (B, H/4, W/4, 128)
    x = block(layers.Concatenate()([layers.UpSampling2D(2)(f3), f2]), 64)
    x = block(layers.Concatenate()([layers.UpSampling2D(2)(x), f1]), 32)
    logits = layers.Conv2D(num_classes, 1, padding="same", name=f"conv2d_{next(numbers)}")(x)
    return keras.Model(inputs, logits, name="unet_mini")


def mobilenet_unet(*, num_classes: int, input_size: tuple[int, int]) -> keras.Model:
    """Build the tutorial's ``mobilenet_unet``: MobileNet levels f1 to f4, then four times padding and a 3x3.

    The decoder starts at f4 (1/16) as the tutorial's does; f5 (1/32) exists in the encoder but nothing reads it,
    so its layers are not part of the model.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 32.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.
    """
    inputs, (f1, f2, f3, f4, _) = mobilenet_encoder(input_size)
    numbers = itertools.count(1)

    def block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        number = next(numbers)
        x = layers.ZeroPadding2D()(x)
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv2d_{number}")(x)
        return layers.BatchNormalization(name=f"batch_normalization_{number}")(x)

    x = block(f4, 512)
    for skip, filters in ((f3, 256), (f2, 128), (f1, 128)):
        x = block(layers.Concatenate()([layers.UpSampling2D(2)(x), skip]), filters)
    x = block(layers.UpSampling2D(2)(x), 64)
    logits = layers.Conv2D(num_classes, 3, padding="same", name=f"conv2d_{next(numbers)}")(x)
    return keras.Model(inputs, logits, name="mobilenet_unet")


def mobilenet_encoder(input_size: tuple[int, int]) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Build MobileNet v1 (width 1.0) without its head, layers named as in ``keras.applications``.

    Args:
        input_size: ``(H, W)`` in pixels.

    Returns:
        The input ``(B, H, W, 3)``, and the levels f1 (1/2, 64 channels) to f5 (1/32, 1024 channels).
    """
    inputs = layers.Input((*input_size, 3))
    x = layers.ZeroPadding2D(1, name="conv1_pad")(inputs)
    x = layers.Conv2D(32, 3, strides=2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(name="conv1_bn")(x)
    x = layers.ReLU(6.0, name="conv1_relu")(x)
    levels = []
    filters = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for index, channels in enumerate(filters, start=1):
        stride = 2 if index in (2, 4, 6, 12) else 1
        x = layers.ZeroPadding2D(1, name=f"conv_pad_{index}")(x)
        x = layers.DepthwiseConv2D(3, strides=stride, use_bias=False, name=f"conv_dw_{index}")(x)
        x = layers.BatchNormalization(name=f"conv_dw_{index}_bn")(x)
        x = layers.ReLU(6.0, name=f"conv_dw_{index}_relu")(x)
        x = layers.Conv2D(channels, 1, padding="same", use_bias=False, name=f"conv_pw_{index}")(x)
        x = layers.BatchNormalization(name=f"conv_pw_{index}_bn")(x)
        x = layers.ReLU(6.0, name=f"conv_pw_{index}_relu")(x)
        if index in (1, 3, 5, 11, 13):  # the last block before each change of resolution
            levels.append(x)
    return inputs, levels
