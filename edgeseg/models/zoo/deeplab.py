"""Build DeepLabv3+: a trunk with dilation, five parallel views of its features (ASPP), and a decoder with one skip.

Architecture: Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation". The options of the variants in ``deeplab_entries`` make that of the "DeepLabv3+" tutorial.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import keras

from edgeseg.errors import InputError
from edgeseg.models.zoo.backbones.mobilenetv2 import divisible_by_8, mobilenetv2_encoder
from edgeseg.models.zoo.backbones.resnet import resnet_trunk
from edgeseg.models.zoo.backbones.vgg16 import vgg16_encoder
from edgeseg.models.zoo.backbones.xception import applications_encoder, xception_encoder
from edgeseg.models.zoo.deeplab_head import HeadOptions, add_deeplab_head
from edgeseg.models.zoo.options import WeightShapes, check_choice

_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # by output stride
#: Widths of layers of both encoders; rounded to multiples of 8, one alone does not say the factor of all.
_WIDTHS = {
    "Conv": 32,
    **{f"expanded_conv_{block}_project": width for block, width in ((2, 24), (5, 32), (9, 64), (12, 96), (15, 160))},
    "expanded_conv_16_project": 320,
    "entry_flow_conv1_2": 64,
    **{f"entry_flow_block{block}_shortcut": width for block, width in ((1, 128), (2, 256), (3, 728))},
    **{f"exit_flow_block{block}_separable_conv3_pointwise": width for block, width in ((1, 1024), (2, 2048))},
    "exit_flow_block2_separable_conv1_pointwise": 1536,
}
#: The factors of widths that are published.
_ALPHAS = (1.0, 1.4, 1.3, 0.75, 0.5, 0.35, 0.25)
_AUTO_NAME = re.compile(r"conv2d(_\d+)?")


def deeplabv3plus_xception(
    *,
    num_classes: int,
    input_size: tuple[int, int],
    output_stride: int = 16,
    trunk: Literal["modified", "applications"] = "modified",
    alpha: float = 1.0,
    middle_units: int = 16,
    depthwise_relu: bool = False,
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
        depthwise_relu: a ReLU after every depthwise convolution of the modified trunk, as in the paper; the published
            weights are of one without.
        **head: fields of ``HeadOptions``.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.

    Raises:
        InputError: an option has none of the values above.
    """
    check_choice("output_stride", output_stride, tuple(_RATES))
    check_choice("trunk", trunk, ("modified", "applications"))
    if trunk == "modified":
        ends = xception_encoder(
            input_size,
            output_stride=output_stride,
            alpha=alpha,
            middle_units=middle_units,
            depthwise_relu=depthwise_relu,
        )
    elif (output_stride, alpha, middle_units, depthwise_relu) != (16, 1.0, 16, False):
        raise InputError(
            "trunk='applications' has a fixed shape and takes no output_stride, alpha, middle_units or depthwise_relu; "
            "omit them, or use trunk='modified'."
        )
    else:
        ends = applications_encoder(input_size)
    return _model("deeplabv3plus_xception", ends, num_classes, output_stride, HeadOptions(**head))


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
    return _model("deeplabv3plus_mobilenetv2", ends, num_classes, output_stride, HeadOptions(**head))


def deeplabv3plus_vgg16(
    *, num_classes: int, input_size: tuple[int, int], output_stride: int = 16, **head: Any
) -> keras.Model:
    """Build DeepLabv3+ on VGG-16; its skip is from ``block3_conv3``, its features from ``block5_conv3``.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 16.
        output_stride: 16, or 8 for features of twice the resolution, which cost more.
        **head: fields of ``HeadOptions``.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.

    Raises:
        InputError: an option has none of the values above.
    """
    check_choice("output_stride", output_stride, tuple(_RATES))
    inputs, levels = vgg16_encoder(input_size, output_stride=output_stride)
    ends = inputs, levels[2], levels[4]
    return _model("deeplabv3plus_vgg16", ends, num_classes, output_stride, HeadOptions(**head))


def deeplabv3plus_resnet50(
    *, num_classes: int, input_size: tuple[int, int], output_stride: int = 16, **head: Any
) -> keras.Model:
    """Build DeepLabv3+ on the ResNet-50 of ``keras.applications``; its skip is the output of the second stage.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, any: strided layers round up, and every resize goes to the size of another map.
        output_stride: 16, or 8 for features of twice the resolution, which cost more.
        **head: fields of ``HeadOptions``.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.

    Raises:
        InputError: an option has none of the values above.
    """
    check_choice("output_stride", output_stride, tuple(_RATES))
    ends = resnet_trunk(input_size, depth=50, output_stride=output_stride)
    return _model("deeplabv3plus_resnet50", ends, num_classes, output_stride, HeadOptions(**head))


def deeplabv3plus_resnet101(
    *, num_classes: int, input_size: tuple[int, int], output_stride: int = 16, **head: Any
) -> keras.Model:
    """Build DeepLabv3+ on the ResNet-101 of ``keras.applications``; see ``deeplabv3plus_resnet50``."""
    check_choice("output_stride", output_stride, tuple(_RATES))
    ends = resnet_trunk(input_size, depth=101, output_stride=output_stride)
    return _model("deeplabv3plus_resnet101", ends, num_classes, output_stride, HeadOptions(**head))


def options_in(shapes: WeightShapes) -> dict[str, Any]:
    """Return the options of every family that the shapes of weights say."""
    kernels, found = shapes.kernels, _head_options_in(shapes)
    units = {match[1] for match in map(re.compile(r"middle_flow_unit_(\d+)_.*").fullmatch, kernels) if match}
    if units:
        found["middle_units"] = len(units)
    if "block1_conv1" in kernels or "entry_flow_conv1_1" in kernels:
        found["trunk"] = "applications" if "block1_conv1" in kernels else "modified"
    reached = [(width, kernels[name][-1]) for name, width in _WIDTHS.items() if name in kernels]
    if reached:
        widest, pixels = max(reached)
        most = max(1, 2 * pixels / widest)
        decimals = (number / parts for parts in (10, 100) for number in range(1, 1 + round(most * parts)))
        fitting = (a for a in (*_ALPHAS, *decimals) if all(divisible_by_8(w * a) == wide for w, wide in reached))
        found["alpha"] = next(fitting, pixels / widest)
    return found


def _head_options_in(shapes: WeightShapes) -> dict[str, Any]:
    kernels = shapes.kernels
    if "aspp0" in kernels:
        found = {"filters": kernels["aspp0"][-1], "use_bias": "aspp0" in shapes.biased}
        if "aspp1" in kernels or "aspp1_depthwise" in kernels:
            found["separable"] = "aspp1_depthwise" in kernels
        return found | ({"upsampling": "transposed"} if "decoder_transposed" in kernels else {})
    # Whoever left all names to Keras has three plain convolutions of one shape in ASPP, and two more in the decoder.
    plain = {name: shape for name, shape in kernels.items() if _AUTO_NAME.fullmatch(name) and shape[:2] == (3, 3)}
    aspp = [name for name, shape in plain.items() if list(plain.values()).count(shape) == 3]
    if len(aspp) != 3:
        return {}
    return {"filters": plain[aspp[0]][-1], "use_bias": aspp[0] in shapes.biased, "separable": False}


def _model(
    name: str,
    ends: tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor],
    num_classes: int,
    output_stride: int,
    head: HeadOptions,
) -> keras.Model:
    inputs, low_level, x = ends
    size = tuple(inputs.shape[1:3])
    if head.upsampling == "transposed" and any(side % output_stride for side in size):
        raise InputError(
            f"upsampling=transposed needs a height and width divisible by {output_stride}, "
            f"got {size[0]},{size[1]}; upsampling=bilinear takes any."
        )
    logits = add_deeplab_head(x, low_level, head, num_classes=num_classes, like=inputs, rates=_RATES[output_stride])
    return keras.Model(inputs, logits, name=name)
