"""Build what DeepLabv3+ has after its trunk: ASPP, five parallel views of the features, and a decoder with one skip.

Layers have the names of the Keras DeepLabv3+ ports, which leave the last convolution to Keras 2 to name; it is
called ``conv2d_1`` here on purpose, because Keras 3 would start at ``conv2d``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import keras
from keras import layers

from edgeseg.errors import InputError
from edgeseg.models.layers import ResizeBilinear
from edgeseg.models.zoo.backbones.xception import separable_conv
from edgeseg.models.zoo.options import check_choice

Pooling = Literal["global", "average"]
Upsampling = Literal["bilinear", "transposed"]


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """The options of ASPP and of the decoder; the defaults are the paper's.

    Attributes:
        filters: channels of every branch and of the decoder.
        separable: separable 3x3 convolutions, as in the paper; plain ones otherwise.
        pooling: the input of the fifth branch: the ``global`` mean of the map, as in the paper, or the ``average`` of
            2x2 windows.
        align_corners: whether the bilinear resizes map corner pixels to corner pixels.
        upsampling: how the decoder gets larger: ``bilinear`` resizes, as in the paper, or ``transposed`` convolutions
            with kernels of twice their stride, the last of which takes the place of the last convolution.
        use_bias: whether convolutions before a BatchNormalization have a bias.
        bn_epsilon: of every BatchNormalization.
        dropout: rate after ASPP.
        decoder_dropout: rate before the last convolution.

    Raises:
        InputError: an option has another value, or has no effect beside the others.
    """

    filters: int = 256
    separable: bool = True
    pooling: Pooling = "global"
    align_corners: bool = True
    upsampling: Upsampling = "bilinear"
    use_bias: bool = False
    bn_epsilon: float = 1e-5
    dropout: float = 0.1
    decoder_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, get_args(Pooling))
        check_choice("upsampling", self.upsampling, get_args(Upsampling))
        if (self.upsampling, self.pooling, self.align_corners) == ("transposed", "global", False):
            raise InputError(
                "align_corners=false has no effect with upsampling=transposed and pooling=global, which resize nothing "
                "but single pixels; omit it."
            )


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
        like: ``(B, H, W, any)`` of the logits' height and width, such as the input; with transposed convolutions, whole
            multiples of both others.
        rates: dilations of the three 3x3 branches.

    Returns:
        Logits ``(B, H, W, num_classes)``.
    """

    def resize(x: keras.KerasTensor, like: keras.KerasTensor, name: str) -> keras.KerasTensor:
        # To a tensor's size, not to numbers: so the layers also work at any other input size.
        return ResizeBilinear(align_corners=head.align_corners, name=f"{name}_resize")([x, like])

    def conv(x: keras.KerasTensor, filters: int, name: str, kernel: int = 1, rate: int = 1) -> keras.KerasTensor:
        x = layers.Conv2D(filters, kernel, padding="same", dilation_rate=rate, use_bias=head.use_bias, name=name)(x)
        return layers.ReLU()(layers.BatchNormalization(epsilon=head.bn_epsilon, name=f"{name}_BN")(x))

    def enlarge(x: keras.KerasTensor, like: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        factor = like.shape[1] // x.shape[1]
        return layers.Conv2DTranspose(filters, 2 * factor, strides=factor, padding="same", name=name)(x)

    def conv3x3(x: keras.KerasTensor, name: str, rate: int = 1) -> keras.KerasTensor:
        if head.separable:
            return separable_conv(
                x,
                head.filters,
                name,
                rate=rate,
                depth_activation=True,
                use_bias=head.use_bias,
                epsilon=head.bn_epsilon,
            )
        return conv(x, head.filters, name, kernel=3, rate=rate)

    if head.pooling == "global":
        pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)  # (B, 1, 1, C)
    else:
        pooled = layers.AveragePooling2D(2, padding="same")(x)
    pooled = resize(conv(pooled, head.filters, "image_pooling"), x, "image_pooling")
    branches = [pooled, conv(x, head.filters, "aspp0")]
    branches += [conv3x3(x, f"aspp{number}", rate) for number, rate in enumerate(rates, start=1)]
    x = conv(layers.Concatenate()(branches), head.filters, "concat_projection")
    if head.dropout:
        x = layers.Dropout(head.dropout)(x)

    bilinear = head.upsampling == "bilinear"
    x = resize(x, low_level, "decoder") if bilinear else enlarge(x, low_level, head.filters, "decoder_transposed")
    x = layers.Concatenate()([x, conv(low_level, 48, "feature_projection0")])
    x = conv3x3(conv3x3(x, "decoder_conv0"), "decoder_conv1")
    if head.decoder_dropout:
        x = layers.Dropout(head.decoder_dropout)(x)
    if not bilinear:
        return enlarge(x, like, num_classes, "logits_transposed")
    return resize(layers.Conv2D(num_classes, 1, name="conv2d_1")(x), like, "logits")
