"""Build PSPNet-50 as its authors published it, a large model that is not of the zoo.

Zhao et al., Pyramid Scene Parsing Network, https://arxiv.org/abs/1612.01105: a ResNet-50 with a stem of three
convolutions, whose last two stages are dilated in place of striding, and means over a grid of 1, 2, 3 and 6 cells.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

_BINS = (1, 2, 3, 6)
_STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 1, 2), (3, 512, 1, 4))  # blocks, filters, stride, dilation


def pspnet50(size: tuple[int, int] = (473, 473), num_classes: int = 150) -> keras.Model:
    """Return PSPNet-50 with random weights, from ``(B, H, W, 3)`` float32 to a softmax ``(B, H, W, C)``.

    Args:
        size: ``(H, W)``, of which an eighth, rounded up, is a multiple of 6.
        num_classes: C.
    """
    image = keras.Input((*size, 3))
    x = image
    for filters, stride in ((64, 2), (64, 1), (128, 1)):
        x = _convolved(x, filters, 3, stride=stride)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for blocks, filters, stride, dilation in _STAGES:
        for block in range(blocks):
            x = _bottleneck(x, filters, stride=1 if block else stride, dilation=dilation, widens=not block)
    height, width = x.shape[1:3]
    pooled = [x]
    for bins in _BINS:
        cell = (height // bins, width // bins)
        level = _convolved(layers.AveragePooling2D(cell, cell)(x), 512, 1)
        pooled.append(layers.Resizing(height, width, interpolation="bilinear")(level))
    x = layers.Dropout(0.1)(_convolved(layers.Concatenate()(pooled), 512, 3))
    x = layers.Conv2D(num_classes, 1)(x)
    return keras.Model(image, layers.Softmax()(layers.Resizing(*size, interpolation="bilinear")(x)), name="pspnet50")


def _bottleneck(x: Any, filters: int, *, stride: int, dilation: int, widens: bool) -> Any:
    y = _convolved(x, filters, 1, stride=stride)
    y = _convolved(y, filters, 3, dilation=dilation)
    y = _convolved(y, 4 * filters, 1, relu=False)
    shortcut = _convolved(x, 4 * filters, 1, stride=stride, relu=False) if widens else x
    return layers.ReLU()(layers.Add()([shortcut, y]))


def _convolved(x: Any, filters: int, side: int, *, stride: int = 1, dilation: int = 1, relu: bool = True) -> Any:
    x = layers.Conv2D(filters, side, stride, padding="same", dilation_rate=dilation, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if relu else x
