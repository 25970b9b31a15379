"""Build ResNet-50 and ResNet-101 without their heads, as encoders.

Architecture: He et al. 2015, "Deep Residual Learning", the first version: the stride is in the first 1x1 convolution
of a stage, and convolutions have a bias. There are two conventions, by which two kinds of ImageNet weights fit:

    resnet50_encoder    Keras 2's own ResNet50, as in the SegNet tutorial and unet-keras: ``res2a_branch2a`` and
                        ``bn2a_branch2a``, epsilon 1e-3
    resnet_trunk        keras.applications: ``conv2_block1_1_conv`` and ``conv2_block1_1_bn``, epsilon 1.001e-5
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import keras
from keras import layers

from edgeseg.models.zoo.options import check_choice

PoolPadding = Literal["valid", "same", "zeros"]

#: Blocks of stages 2 to 5, by depth.
_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
#: Channels inside a block of a stage; its output has four times as many.
_FILTERS = (64, 128, 256, 512)


@dataclass(frozen=True)
class _Convention:
    """How layers are called, and the epsilon of BatchNormalizations.

    Attributes:
        names: stage, block and part to the names of a convolution and its BatchNormalization. Part 0 is the shortcut;
            stage 1 has one convolution.
        epsilon: of every BatchNormalization.
    """

    names: Callable[[int, int, int], tuple[str, str]]
    epsilon: float


def _keras2_names(stage: int, block: int, part: int) -> tuple[str, str]:
    if stage == 1:
        return "conv1", "bn_conv1"
    name = f"{stage}{'abcdef'[block - 1]}_branch{('1', '2a', '2b', '2c')[part]}"
    return f"res{name}", f"bn{name}"


def _applications_names(stage: int, block: int, part: int) -> tuple[str, str]:
    name = "conv1" if stage == 1 else f"conv{stage}_block{block}_{part}"
    return f"{name}_conv", f"{name}_bn"


_KERAS2 = _Convention(_keras2_names, 1e-3)
_APPLICATIONS = _Convention(_applications_names, 1.001e-5)


def resnet50_encoder(
    input_size: tuple[int, int], *, pool_padding: PoolPadding
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Build the levels of ResNet-50, by the convention of Keras 2's own.

    Args:
        input_size: ``(H, W)``, each divisible by 32.
        pool_padding: border of the 3x3 pooling: a pixel of ``zeros`` in unet-keras and in ``keras.applications``;
            none (``valid``) in the SegNet tutorial, where f2 is ``(H/4 - 1, W/4 - 1)`` and f3 to f5 are as with
            the others; ``same``, which for even sizes is a pixel right and below, in Semantic-Segmentation since 2021.

    Returns:
        The input ``(B, H, W, 3)``, and the levels f1 (1/2, 64 channels, after its ReLU), f2 (1/4, 256), f3 (1/8, 512),
        f4 (1/16, 1024) and f5 (1/32, 2048).

    Raises:
        InputError: ``pool_padding`` has another value.
    """
    check_choice("pool_padding", pool_padding, get_args(PoolPadding))
    return _levels(input_size, 50, _KERAS2, pool_padding=pool_padding)


def resnet_trunk(
    input_size: tuple[int, int], *, depth: Literal[50, 101], output_stride: int
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Build ResNet-50 or ResNet-101 for DeepLab, by the convention of ``keras.applications``.

    The strides that the output stride does not allow become dilations, from the same block on, so that every second or
    fourth feature is exactly that of ``keras.applications``.

    Args:
        input_size: ``(H, W)``, any: strided layers round up.
        depth: 50 or 101 layers.
        output_stride: 16 or 8: how much smaller than the input the features are.

    Returns:
        The input ``(B, H, W, 3)``, the low-level features at 1/4 (256 channels), and the features at
        ``1/output_stride`` (2048).
    """
    inputs, levels = _levels(input_size, depth, _APPLICATIONS, pool_padding="zeros", output_stride=output_stride)
    return inputs, levels[1], levels[-1]


def _levels(
    input_size: tuple[int, int],
    depth: int,
    convention: _Convention,
    *,
    pool_padding: PoolPadding,
    output_stride: int = 32,
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    inputs = layers.Input((*input_size, 3))
    convolution, norm = convention.names(1, 1, 1)
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(64, 7, strides=2, name=convolution)(x)
    x = layers.BatchNormalization(epsilon=convention.epsilon, name=norm)(x)
    x = layers.Activation("relu")(x)
    levels = [x]
    if pool_padding == "zeros":
        x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same" if pool_padding == "same" else "valid")(x)
    reached, rate = 4, 1
    for stage, (blocks, filters) in enumerate(zip(_BLOCKS[depth], _FILTERS, strict=True), start=2):
        strides = 1 if stage == 2 or reached == output_stride else 2
        reached *= strides
        rate *= 2 if stage > 2 and strides == 1 else 1
        for block in range(1, blocks + 1):
            x = _block(x, filters, convention, (stage, block), strides=strides if block == 1 else 1, rate=rate)
        levels.append(x)
    return inputs, levels


def _block(
    x: keras.KerasTensor, filters: int, convention: _Convention, place: tuple[int, int], *, strides: int, rate: int
) -> keras.KerasTensor:
    """Add 1x1, 3x3 and 1x1 around a shortcut; the first block of a stage strides and has a 1x1 in its shortcut too."""

    def convolve(
        x: keras.KerasTensor, filters: int, part: int, *, kernel: int = 1, strides: int = 1, rate: int = 1
    ) -> keras.KerasTensor:
        convolution, norm = convention.names(*place, part)
        x = layers.Conv2D(filters, kernel, strides, "same", dilation_rate=rate, name=convolution)(x)
        return layers.BatchNormalization(epsilon=convention.epsilon, name=norm)(x)

    shortcut = convolve(x, 4 * filters, 0, strides=strides) if place[1] == 1 else x
    x = layers.Activation("relu")(convolve(x, filters, 1, strides=strides))
    x = layers.Activation("relu")(convolve(x, filters, 2, kernel=3, rate=rate))
    x = layers.Add()([convolve(x, 4 * filters, 3), shortcut])
    return layers.Activation("relu")(x)
