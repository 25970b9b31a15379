"""Build DeepLabv3+: a trunk with dilation, five parallel views of its features (ASPP), and a decoder with one skip.

Layers have the names of the Keras DeepLabv3+ ports, which leave the last convolution to Keras 2 to name; it is
called ``conv2d_1`` here on purpose, because Keras 3 would start at ``conv2d``.

Architecture: Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation". The options of ``HeadOptions`` and ``trunk="applications"`` make the simpler one of the "DeepLabv3+"
tutorial::

    create("deeplabv3plus_xception", num_classes=2, input_size=(320, 320), trunk="applications", separable=False,
           pooling="average", align_corners=False, dropout=0.0, decoder_dropout=0.2)

It differs from the tutorial's in this: its BatchNormalizations learn, and so its convolutions need no bias (the
tutorial freezes most of its own at the identity); and its last convolution comes before the last resize, which
gives the same numbers for a sixteenth of the work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
from keras import layers

from edgeseg.errors import InputError
from edgeseg.models.layers import ResizeBilinear
from edgeseg.models.zoo.backbones.mobilenetv2 import divisible_by_8, mobilenetv2_encoder
from edgeseg.models.zoo.backbones.xception import applications_encoder, separable_conv, xception_encoder

Pooling = Literal["global", "average"]

_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # by output stride
_BN_EPSILON = 1e-5
#: The factors of widths that are published; rounding to multiples of 8 hides others.
_ALPHAS = (1.0, 1.4, 1.3, 0.75, 0.5, 0.35, 0.25)


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
        _check_choice("pooling", self.pooling, get_args(Pooling))


def deeplabv3plus_xception(
    *,
    num_classes: int,
    input_size: tuple[int, int],
    output_stride: int = 16,
    trunk: Literal["modified", "applications"] = "modified",
    alpha: float = 1.0,
    middle_units: int = 16,
    **head: Any,
) -> keras.Model:
    """Build DeepLabv3+ on Xception.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, any: strided layers round up, and every resize goes to the size of another map.
        output_stride: 16, or 8 for features of twice the resolution, which cost more.
        trunk: the paper's ``modified`` Xception, or that of ``keras.applications`` (output stride 16 only).
        alpha: factor of the modified trunk's widths.
        middle_units: units of the modified trunk's middle flow.
        **head: fields of ``HeadOptions``.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.

    Raises:
        InputError: an option has none of the values above.
    """
    _check_choice("output_stride", output_stride, tuple(_RATES))
    _check_choice("trunk", trunk, ("modified", "applications"))
    if trunk == "modified":
        ends = xception_encoder(input_size, output_stride=output_stride, alpha=alpha, middle_units=middle_units)
    elif (output_stride, alpha, middle_units) != (16, 1.0, 16):
        raise InputError(
            "trunk='applications' has a fixed shape and takes no output_stride, alpha or middle_units; "
            "omit them, or use trunk='modified'."
        )
    else:
        ends = applications_encoder(input_size)
    return _model("deeplabv3plus_xception", ends, num_classes, _RATES[output_stride], HeadOptions(**head))


def deeplabv3plus_mobilenetv2(
    *,
    num_classes: int,
    input_size: tuple[int, int],
    output_stride: int = 16,
    alpha: float = 1.0,
    **head: Any,
) -> keras.Model:
    """Build DeepLabv3+ on MobileNetV2, with all of ASPP and the decoder; its skip is from ``expanded_conv_2``.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, any: strided layers round up, and every resize goes to the size of another map.
        output_stride: 16, or 8 for features of twice the resolution, which cost more.
        alpha: factor of the trunk's widths.
        **head: fields of ``HeadOptions``.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.

    Raises:
        InputError: an option has none of the values above.
    """
    _check_choice("output_stride", output_stride, tuple(_RATES))
    ends = mobilenetv2_encoder(input_size, output_stride=output_stride, alpha=alpha)
    return _model("deeplabv3plus_mobilenetv2", ends, num_classes, _RATES[output_stride], HeadOptions(**head))


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


def options_in(kernels: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the options of both families that the shapes of kernels say, by layer."""
    found: dict[str, Any] = {}
    if "aspp0" in kernels:
        found["filters"] = kernels["aspp0"][-1]
    if "aspp1" in kernels or "aspp1_depthwise" in kernels:
        found["separable"] = "aspp1_depthwise" in kernels
    units = {match[1] for match in map(re.compile(r"middle_flow_unit_(\d+)_.*").fullmatch, kernels) if match}
    if units:
        found["middle_units"] = len(units)
    if "block1_conv1" in kernels or "entry_flow_conv1_1" in kernels:
        found["trunk"] = "applications" if "block1_conv1" in kernels else "modified"
    # The last layer of each encoder, whose width is exactly alpha of its own.
    for name, width in (("expanded_conv_16_project", 320), ("exit_flow_block2_separable_conv3_pointwise", 2048)):
        if name in kernels:
            reached = kernels[name][-1]
            near = [alpha for alpha in _ALPHAS if divisible_by_8(int(width * alpha)) == reached]
            found["alpha"] = near[0] if near else reached / width
    return found


def _model(
    name: str,
    ends: tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor],
    num_classes: int,
    rates: tuple[int, int, int],
    head: HeadOptions,
) -> keras.Model:
    inputs, low_level, x = ends
    logits = add_deeplab_head(x, low_level, head, num_classes=num_classes, like=inputs, rates=rates)
    return keras.Model(inputs, logits, name=name)


def _conv(x: keras.KerasTensor, filters: int, name: str, *, kernel: int = 1, rate: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, padding="same", dilation_rate=rate, use_bias=False, name=name)(x)
    return layers.ReLU()(layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_BN")(x))


def _check_choice(name: str, value: object, accepted: tuple[object, ...]) -> None:
    if value not in accepted:
        raise InputError(f"{name} must be {' or '.join(str(choice) for choice in accepted)}, got {value}.")
