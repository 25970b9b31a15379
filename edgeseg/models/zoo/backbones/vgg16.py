"""Build VGG-16 without its head, as an encoder.

Architecture: Simonyan and Zisserman 2014, "Very Deep Convolutional Networks", configuration D.
"""

from __future__ import annotations

import keras
from keras import layers

#: ``(convolutions, channels)`` of each block; a 2x2 pooling follows each.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg16_encoder(
    input_size: tuple[int, int], *, output_stride: int = 16
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Build VGG-16, layers named as in ``keras.applications``: ``block{n}_conv{m}``, ``block{n}_pool``.

    Args:
        input_size: ``(H, W)`` in pixels.
        output_stride: 16, or 8: then the pooling before f5 has no stride and its convolutions a dilation, so that every
            second feature is exactly that of 16.

    Returns:
        The input ``(B, H, W, 3)``, and the levels f1 (full size, 64 channels) to f5 (``1/output_stride``, 512
        channels), each the last convolution of its block; the pooling after f5 is omitted.
    """
    inputs = layers.Input((*input_size, 3))
    x = inputs
    levels: list[keras.KerasTensor] = []
    for block, (convolutions, filters) in enumerate(VGG16_BLOCKS, start=1):
        dense = block == 5 and output_stride == 8
        if block > 1:
            strides, padding = (1, "same") if dense else (2, "valid")
            x = layers.MaxPooling2D(2, strides, padding, name=f"block{block - 1}_pool")(x)
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            rate = 2 if dense else 1
            x = layers.Conv2D(filters, 3, activation="relu", padding="same", dilation_rate=rate, name=name)(x)
        levels.append(x)
    return inputs, levels
