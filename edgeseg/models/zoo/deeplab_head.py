"""Build what DeepLabv3+ has after its trunk: ASPP, five parallel views of the features, and a decoder with one skip.

Layers have the names of the Keras DeepLabv3+ ports, which leave the last convolution to Keras 2 to name; it is
called ``conv2d_1`` here on purpose, because Keras 3 would start at ``conv2d``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import keras
from keras import layers

from edgeseg.models.layers import ResizeBilinear
from edgeseg.models.zoo.backbones.xception import separable_conv
from edgeseg.models.zoo.options import check_choice

Pooling = Literal["global", "average"]

_BN_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """The options of ASPP and of the decoder; the defaults are the paper's.

    Attributes:
        filters: channels of every branch and of the decoder.
        separable: separable 3x3 convolutions, as in the paper; plain ones otherwise.
        pooling: the input of the fifth branch: the ``global`` mean of the map, as in the paper, or the ``average`` of
            2x2 windows.
        align_corners: whether the bilinear resizes map corner pixels to corner pixels.
        dropout: rate after ASPP.
        decoder_dropout: rate before the last convolution.

    Raises:
        InputError: ``pooling`` has another value.
    """

    filters: int = 256
    separable: bool = True
    pooling: Pooling = "global"
    align_corners: bool = True
    dropout: float = 0.1
    decoder_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, get_args(Pooling))


def add_deeplab_head(
    x: keras.KerasTensor,
    low_level: keras.KerasTensor,
    head: HeadOptions,
    *,
    num_classes: int,
    like: keras.KerasTensor,
    rates: tuple[int, int, int],
) -> keras.KerasTensor:
    """Add ASPP and the decoder.

    Args:
        x: the trunk's features ``(B, h, w, C)``.
        low_level: its features at 1/4.
        head: the options of both.
        num_classes: number of output channels.
        like: ``(B, H, W, any)`` of the logits' height and width, such as the input.
        rates: dilations of the three 3x3 branches.

    Returns:
        Logits ``(B, H, W, num_classes)``.
    """

    def resize(x: keras.KerasTensor, like: keras.KerasTensor, name: str) -> keras.KerasTensor:
        # To a tensor's size, not to numbers: so the layers also work at any other input size.
        return ResizeBilinear(align_corners=head.align_corners, name=f"{name}_resize")([x, like])

    def conv3x3(x: keras.KerasTensor, name: str, rate: int = 1) -> keras.KerasTensor:
        if head.separable:
            return separable_conv(x, head.filters, name, rate=rate, depth_activation=True, epsilon=_BN_EPSILON)
        return _conv(x, head.filters, name, kernel=3, rate=rate)

    if head.pooling == "global":
        pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)  # (B, 1, 1, C)
    else:
        pooled = layers.AveragePooling2D(2, padding="same")(x)
    pooled = resize(_conv(pooled, head.filters, "image_pooling"), x, "image_pooling")
    branches = [pooled, _conv(x, head.filters, "aspp0")]
    branches += [conv3x3(x, f"aspp{number}", rate) for number, rate in enumerate(rates, start=1)]
    x = _conv(layers.Concatenate()(branches), head.filters, "concat_projection")
    if head.dropout:
        x = layers.Dropout(head.dropout)(x)

    x = resize(x, low_level, "decoder")
    x = layers.Concatenate()([x, _conv(low_level, 48, "feature_projection0")])
    x = conv3x3(conv3x3(x, "decoder_conv0"), "decoder_conv1")
    if head.decoder_dropout:
        x = layers.Dropout(head.decoder_dropout)(x)
    x = layers.Conv2D(num_classes, 1, name="conv2d_1")(x)
    return resize(x, like, "logits")


def _conv(x: keras.KerasTensor, filters: int, name: str, *, kernel: int = 1, rate: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, padding="same", dilation_rate=rate, use_bias=False, name=name)(x)
    return layers.ReLU()(layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_BN")(x))
