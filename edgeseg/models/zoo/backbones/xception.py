"""Build two Xception encoders for DeepLabv3+: the paper's modified one, and that of ``keras.applications``.

The modified one uses strided separable convolutions where Xception pools, has a middle flow of 16 units, and has
dilation after its last stride. Its layers have the names of the Keras DeepLabv3+ ports
(``entry_flow_block1_separable_conv1_depthwise``, ``middle_flow_unit_1_...``, ``exit_flow_block2_...``).

Architecture: Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions"; Chen et al. 2018,
"Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", figure 4.
"""

from __future__ import annotations

import functools
import re

import keras
from keras import layers

from edgeseg.models.zoo.backbones.mobilenetv2 import divisible_by_8

_AUTO_NAME = re.compile(r"(conv2d|batch_normalization)(_\d+)?")


def xception_encoder(
    input_size: tuple[int, int],
    *,
    output_stride: int = 16,
    alpha: float = 1.0,
    middle_units: int = 16,
    depthwise_relu: bool = False,
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Build the modified Xception without its head, at 1/16 or 1/8.

    Args:
        input_size: ``(H, W)`` in pixels.
        output_stride: 16 or 8: how much smaller than the input the features are.
        alpha: factor of all widths, rounded to multiples of 8.
        middle_units: units of the middle flow.
        depthwise_relu: a ReLU after every depthwise convolution and every pointwise one, as in the paper; otherwise one
            before each pair, as the published weights have it, but for the last block.

    Returns:
        The input ``(B, H, W, 3)``, the low-level features at 1/4 (256 channels when ``alpha`` is 1),
        and the features at ``1/output_stride`` (2048 channels).
    """

    def widths(*filters: int) -> list[int]:
        return [divisible_by_8(width * alpha) for width in filters]

    block = functools.partial(_block, depth_activation=depthwise_relu)

    stem1, stem2 = widths(32, 64)
    inputs = layers.Input((*input_size, 3))
    x = layers.Conv2D(stem1, 3, 2, "same", use_bias=False, name="entry_flow_conv1_1")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="entry_flow_conv1_1_BN")(x))
    x = layers.Conv2D(stem2, 3, padding="same", use_bias=False, name="entry_flow_conv1_2")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="entry_flow_conv1_2_BN")(x))

    x, _ = block(x, widths(128, 128, 128), "entry_flow_block1", stride=2)
    # The second convolution of block 2 is the last at 1/4.
    x, low_level = block(x, widths(256, 256, 256), "entry_flow_block2", stride=2)
    x, _ = block(x, widths(728, 728, 728), "entry_flow_block3", stride=2 if output_stride == 16 else 1)
    rate = 16 // output_stride  # in place of the stride that block 3 does not take
    for unit in range(1, middle_units + 1):
        x, _ = block(x, widths(728, 728, 728), f"middle_flow_unit_{unit}", rate=rate, shortcut="sum")
    x, _ = block(x, widths(728, 1024, 1024), "exit_flow_block1", rate=rate)
    x, _ = _block(
        x, widths(1536, 1536, 2048), "exit_flow_block2", rate=2 * rate, shortcut="none", depth_activation=True
    )
    return inputs, low_level, x


def applications_encoder(
    input_size: tuple[int, int],
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Build ``keras.applications.Xception`` up to 1/16, with random weights, after a border of two pixels.

    The border compensates for the two unpadded convolutions of its stem: multiples of 16 come out as whole 16ths.
    Shortcut convolutions, which Keras numbers anew in every process, are called ``shortcut_1`` to ``shortcut_3``.

    Args:
        input_size: ``(H, W)`` in pixels.

    Returns:
        The input ``(B, H, W, 3)``, the low-level features at 1/4 (256 channels), and the features at 1/16 (1024).
    """
    inputs = layers.Input((*input_size, 3))
    padded = layers.ZeroPadding2D(2, name="input_pad")(inputs)
    whole = keras.applications.Xception(include_top=False, weights=None, input_tensor=padded)
    ends = [whole.get_layer(name).output for name in ("block3_sepconv2_bn", "block13_sepconv2_bn")]
    model = keras.Model(inputs, ends)
    names: dict[str, str] = {}
    for kind, suffix in ((layers.Conv2D, ""), (layers.BatchNormalization, "_bn")):
        auto = [x.name for x in model.layers if isinstance(x, kind) and _AUTO_NAME.fullmatch(x.name)]
        names |= {name: f"shortcut_{number}{suffix}" for number, name in enumerate(auto, start=1)}

    def renamed(layer: layers.Layer) -> layers.Layer:
        return type(layer).from_config({**layer.get_config(), "name": names.get(layer.name, layer.name)})

    model = keras.models.clone_model(model, clone_function=renamed)
    low_level, x = model.outputs
    return model.inputs[0], low_level, x


def separable_conv(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    *,
    stride: int = 1,
    rate: int = 1,
    depth_activation: bool = False,
    use_bias: bool = False,
    epsilon: float = 1e-3,
) -> keras.KerasTensor:
    """Add a 3x3 depthwise and a 1x1 convolution, each with its BatchNormalization.

    Args:
        x: ``(B, H, W, C)``.
        filters: output channels.
        name: prefix of ``_depthwise``, ``_depthwise_BN``, ``_pointwise`` and ``_pointwise_BN``.
        stride: of the depthwise convolution; 2 pads one pixel on every side, where "same" pads even sizes only right
            and below.
        rate: dilation of the depthwise convolution.
        depth_activation: a ReLU after each of the two; otherwise one ReLU before the first.
        use_bias: whether both convolutions have a bias.
        epsilon: of the BatchNormalizations.

    Returns:
        ``(B, ceil(H / stride), ceil(W / stride), filters)``.
    """
    if stride > 1:
        x = layers.ZeroPadding2D(rate)(x)
    if not depth_activation:
        x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(
        3,
        stride,
        "same" if stride == 1 else "valid",
        dilation_rate=rate,
        use_bias=use_bias,
        name=f"{name}_depthwise",
    )(x)
    x = layers.BatchNormalization(epsilon=epsilon, name=f"{name}_depthwise_BN")(x)
    if depth_activation:
        x = layers.ReLU()(x)
    x = layers.Conv2D(filters, 1, use_bias=use_bias, name=f"{name}_pointwise")(x)
    x = layers.BatchNormalization(epsilon=epsilon, name=f"{name}_pointwise_BN")(x)
    return layers.ReLU()(x) if depth_activation else x


def _block(
    x: keras.KerasTensor,
    widths: list[int],
    name: str,
    *,
    stride: int = 1,
    rate: int = 1,
    shortcut: str = "conv",
    depth_activation: bool = False,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Add three separable convolutions, the last strided, and a shortcut around them; return the second's too."""
    source, second = x, x
    for number, filters in enumerate(widths, start=1):
        x = separable_conv(
            x,
            filters,
            f"{name}_separable_conv{number}",
            stride=stride if number == 3 else 1,
            rate=rate,
            depth_activation=depth_activation,
        )
        if number == 2:
            second = x
    if shortcut == "none":
        return x, second
    if shortcut == "conv":
        source = layers.Conv2D(widths[-1], 1, stride, use_bias=False, name=f"{name}_shortcut")(source)
        source = layers.BatchNormalization(name=f"{name}_shortcut_BN")(source)
    return layers.Add()([x, source]), second
