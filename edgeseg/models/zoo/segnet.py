"""Build SegNet: with pooling indices on VGG-16, and the "SegNet" tutorial's on ResNet-50, which has no indices.

Layers that their sources leave to Keras 2 to name (``conv2d_1``, ``batch_normalization_1``, ...) have those names here
on purpose: Keras 3 would start at ``conv2d`` and every weight would be off by one.

Architecture: Badrinarayanan et al. 2015, "SegNet: A Deep Convolutional Encoder-Decoder Architecture".
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import keras
from keras import layers

from edgeseg.errors import InputError
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.models.zoo.backbones.resnet import PoolPadding, resnet50_encoder
from edgeseg.models.zoo.backbones.vgg16 import VGG16_BLOCKS
from edgeseg.models.zoo.options import WeightShapes


def segnet(*, num_classes: int, input_size: tuple[int, int], include_batch_in_index: bool = False) -> keras.Model:
    """Build the paper's SegNet as in tf-keras-SegNet: 26 convolutions with bias, batch normalization after each.

    The decoder mirrors the encoder and puts values back where the encoder's poolings found them. The last
    convolution is 1x1; its batch normalization has no activation, and its output is the logits.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 32.
        include_batch_in_index: the convention of the pooling indices; no effect on the result.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [0, 1] to logits ``(B, H, W, num_classes)``.
    """
    numbers = itertools.count(1)

    def convolve(x: keras.KerasTensor, filters: int, kernel: int = 3) -> keras.KerasTensor:
        number = next(numbers)
        x = layers.Conv2D(filters, kernel, padding="same", name=f"conv2d_{number}")(x)
        return layers.BatchNormalization(name=f"batch_normalization_{number}")(x)

    inputs = layers.Input((*input_size, 3))
    x = inputs
    indices = []
    for convolutions, filters in VGG16_BLOCKS:
        for _ in range(convolutions):
            x = layers.Activation("relu")(convolve(x, filters))
        x, index = MaxPoolingWithArgmax2D(include_batch_in_index=include_batch_in_index)(x)
        indices.append(index)
    # The last convolution of a block has the channels of the next; that of the full-size block gives the logits.
    narrower = [filters for _, filters in VGG16_BLOCKS[:-1]]
    for (convolutions, filters), last in zip(reversed(VGG16_BLOCKS), (*reversed(narrower), None), strict=True):
        x = MaxUnpooling2D(include_batch_in_index=include_batch_in_index)([x, indices.pop()])
        for _ in range(convolutions - 1):
            x = layers.Activation("relu")(convolve(x, filters))
        if last is not None:
            x = layers.Activation("relu")(convolve(x, last))
    return keras.Model(inputs, convolve(x, num_classes, kernel=1), name="segnet")


def resnet50_segnet(
    *,
    num_classes: int,
    input_size: tuple[int, int],
    encoder_level: int = 3,
    n_up: int = 3,
    flatten: bool = False,
    pool_padding: PoolPadding = "valid",
) -> keras.Model:
    """Build the tutorial's ``resnet50_segnet``: one ResNet-50 level, then steps of UpSampling2D, a 3x3 and BN.

    There is no activation in the decoder, as in the tutorial, and its output is at half size: 416 gives 208.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 32.
        encoder_level: 2, 3 or 4: the level f3 (1/8), f4 (1/16) or f5 (1/32) that is decoded.
        n_up: how often the decoder doubles the size, from 2 to ``encoder_level + 1``. The logits are at half size
            when it equals ``encoder_level``, at full size when it is one more.
        flatten: whether the pixels are one axis, as in the tutorial's training.
        pool_padding: border of the encoder's 3x3 pooling, see ``resnet50_encoder``.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [0, 1] to logits ``(B, H/2, W/2, num_classes)``, or
        ``(B, H/2 * W/2, num_classes)`` when flat.

    Raises:
        InputError: the decoder cannot start from that level, or ``n_up`` goes beyond the input's size.
    """
    if encoder_level not in (2, 3, 4):
        raise InputError(f"encoder_level must be 2, 3 or 4 (1/8, 1/16 or 1/32 of the input), got {encoder_level}.")
    if not 2 <= n_up <= encoder_level + 1:
        raise InputError(f"n_up must be from 2 to {encoder_level + 1} with encoder_level={encoder_level}, got {n_up}.")
    inputs, levels = resnet50_encoder(input_size, pool_padding=pool_padding)
    x = levels[encoder_level]
    for number, filters in enumerate((512, 256, *[128] * (n_up - 2), 64), start=1):
        if number > 1:
            x = layers.UpSampling2D(2)(x)
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(filters, 3, name=f"conv2d_{number}")(x)
        x = layers.BatchNormalization(name=f"batch_normalization_{number}")(x)
    x = layers.Conv2D(num_classes, 3, padding="same", name=f"conv2d_{n_up + 2}")(x)
    if flatten:
        x = layers.Reshape((-1, num_classes))(x)
    return keras.Model(inputs, x, name="resnet50_segnet")


def options_in(shapes: WeightShapes) -> dict[str, Any]:
    """Return the options of ``resnet50_segnet`` that the shapes of weights say."""
    decoder = [shape for name, shape in shapes.kernels.items() if re.fullmatch(r"conv2d(_\d+)?", name)]
    levels = {512: 2, 1024: 3, 2048: 4}
    found: dict[str, Any] = {"n_up": len(decoder) - 2} if decoder else {}
    widest = max((shape[2] for shape in decoder), default=0)  # the first reads the encoder's level
    return found | ({"encoder_level": levels[widest]} if widest in levels else {})
