"""Build DeepLabv3+: a trunk with dilation, five parallel views of its features (ASPP), and a decoder with one skip.

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
from typing import Any, Literal

import keras

from edgeseg.errors import InputError
from edgeseg.models.zoo.backbones.mobilenetv2 import divisible_by_8, mobilenetv2_encoder
from edgeseg.models.zoo.backbones.xception import applications_encoder, xception_encoder
from edgeseg.models.zoo.deeplab_head import HeadOptions, add_deeplab_head
from edgeseg.models.zoo.options import check_choice

_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # by output stride
#: The factors of widths that are published; rounding to multiples of 8 hides others.
_ALPHAS = (1.0, 1.4, 1.3, 0.75, 0.5, 0.35, 0.25)


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
    check_choice("output_stride", output_stride, tuple(_RATES))
    check_choice("trunk", trunk, ("modified", "applications"))
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
    check_choice("output_stride", output_stride, tuple(_RATES))
    ends = mobilenetv2_encoder(input_size, output_stride=output_stride, alpha=alpha)
    return _model("deeplabv3plus_mobilenetv2", ends, num_classes, _RATES[output_stride], HeadOptions(**head))


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
