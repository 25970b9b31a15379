"""Build HRNetV2 as in the "HRNetV2 in Keras" tutorial: four parallel branches, and every module fuses all of them.

Layers have the names of hrnet-keras. Keras 2 named its head (``conv2d_1``, ``batch_normalization_1``, ``conv2d_2``);
those names are used here on purpose, because Keras 3 would start at ``conv2d``.

Architecture: Wang et al. 2019, "Deep High-Resolution Representation Learning for Visual Recognition", and
Sun et al. 2019, "High-Resolution Representations for Labeling Pixels and Regions" (the head that joins all branches).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
from keras import layers

from edgeseg.models.layers import ResizeBilinear, UpsampleLike

_BN_EPSILON = 1e-5


def hrnetv2_w18(*, num_classes: int, input_size: tuple[int, int]) -> keras.Model:
    """Build HRNetV2-W18: branches of 18, 36, 72 and 144 channels. See ``hrnetv2``."""
    return hrnetv2(num_classes=num_classes, input_size=input_size, width=18, name="hrnetv2_w18")


def hrnetv2_w32(*, num_classes: int, input_size: tuple[int, int]) -> keras.Model:
    """Build HRNetV2-W32: branches of 32, 64, 128 and 256 channels. See ``hrnetv2``."""
    return hrnetv2(num_classes=num_classes, input_size=input_size, width=32, name="hrnetv2_w32")


def hrnetv2_w48(*, num_classes: int, input_size: tuple[int, int]) -> keras.Model:
    """Build HRNetV2-W48: branches of 48, 96, 192 and 384 channels. See ``hrnetv2``."""
    return hrnetv2(num_classes=num_classes, input_size=input_size, width=48, name="hrnetv2_w48")


def hrnetv2(
    *,
    num_classes: int,
    input_size: tuple[int, int],
    width: int,
    modules: tuple[int, int] = (4, 3),
    blocks: int = 4,
    name: str = "hrnetv2",
) -> keras.Model:
    """Build one of the family: branches at 1/4, 1/8, 1/16, 1/32, each half the size and twice the width of the last.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 32, so that every upsampling has a whole factor.
        width: channels of the branch at 1/4.
        modules: how often the third and the fourth stage repeat; the second stage is one module.
        blocks: residual blocks of a branch in one module.
        name: the model's name.

    Returns:
        A model from ``(B, H, W, 3)`` float32 in [-1, 1] to logits ``(B, H, W, num_classes)``.
    """
    widths = [width * 2**branch for branch in range(4)]
    inputs = layers.Input((*input_size, 3))
    x = _down(inputs, 64, "conv1", "bn1")
    x = _down(x, 64, "conv2", "bn2")  # (B, H/4, W/4, 64)
    for index in range(4):
        x = _bottleneck(x, f"layer1.{index}")  # (B, H/4, W/4, 256)

    branches = [
        _conv_bn(x, widths[0], 3, "transition1.0.0", "transition1.0.1"),
        _down(x, widths[1], "transition1.1.0.0", "transition1.1.0.1"),
    ]
    branches = _module(branches, widths, blocks, "stage2.0", iter(["Upsample1"]))
    branches.append(_down(branches[1], widths[2], "transition2.2.0.0", "transition2.2.0.1"))
    for index in range(modules[0]):
        branches = _module(branches, widths, blocks, f"stage3.{index}", _upsample_names(index, range(2, 5)))
    branches.append(_down(branches[2], widths[3], "transition3.3.0.0", "transition3.3.0.1"))
    for index in range(modules[1]):
        branches = _module(branches, widths, blocks, f"stage4.{index}", _upsample_names(index, range(5, 11)))

    x = layers.Concatenate()([branches[0], *(UpsampleLike()([branch, branches[0]]) for branch in branches[1:])])
    x = layers.Conv2D(sum(widths), 1, name="conv2d_1")(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name="batch_normalization_1")(x)
    x = layers.Conv2D(num_classes, 1, name="conv2d_2")(layers.ReLU()(x))
    # To a tensor's size, not to numbers: so the layers also work at any other input size.
    logits = ResizeBilinear(align_corners=True, name="logits_resize")([x, inputs])
    return keras.Model(inputs, logits, name=name)


def _upsample_names(module: int, numbers: Iterable[int]) -> Iterator[str]:
    return (f"Upsample.{module}.{number}" for number in numbers)


def _module(
    branches: list[keras.KerasTensor], widths: list[int], blocks: int, name: str, upsample_names: Iterator[str]
) -> list[keras.KerasTensor]:
    """Add residual blocks to every branch, then make each the sum of all, resized to its size and width."""
    branches = list(branches)
    for index in range(len(branches)):
        for block in range(blocks):
            branches[index] = _basic_block(branches[index], f"{name}.branches.{index}.{block}")
    fused = []
    for i, target in enumerate(branches):
        terms = []
        for j, x in enumerate(branches):
            path = f"{name}.fuse_layers.{i}.{j}"
            if j > i:
                x = _conv_bn(x, widths[i], 1, f"{path}.0", f"{path}.1", activation=False)
                x = UpsampleLike(name=next(upsample_names))([x, target])
            for step in range(i - j):
                # Only the last convolution of a chain changes the width: the others keep that of branch j.
                last = step == i - j - 1
                filters = widths[i] if last else widths[j]
                x = _down(x, filters, f"{path}.{step}.0", f"{path}.{step}.1", activation=not last)
            terms.append(x)
        fused.append(layers.ReLU()(layers.Add()(terms)))
    return fused


def _bottleneck(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Add 1x1 to 64, 3x3, 1x1 to 256 channels; the shortcut gets a convolution where the input is not 256 wide."""
    shortcut = x
    x = _conv_bn(x, 64, 1, f"{name}.conv1", f"{name}.bn1")
    x = _conv_bn(x, 64, 3, f"{name}.conv2", f"{name}.bn2")
    x = _conv_bn(x, 256, 1, f"{name}.conv3", f"{name}.bn3", activation=False)
    if shortcut.shape[-1] != 256:
        shortcut = _conv_bn(shortcut, 256, 1, f"{name}.downsample.0", f"{name}.downsample.1", activation=False)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _basic_block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Add two 3x3 convolutions of the input's width, and add the input to their output."""
    filters, shortcut = x.shape[-1], x
    x = _conv_bn(x, filters, 3, f"{name}.conv1", f"{name}.bn1")
    x = _conv_bn(x, filters, 3, f"{name}.conv2", f"{name}.bn2", activation=False)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _down(
    x: keras.KerasTensor, filters: int, conv: str, batch_norm: str, *, activation: bool = True
) -> keras.KerasTensor:
    """Add a 3x3 with stride 2 after a border of one pixel; "same" would pad even sizes only right and below."""
    x = layers.ZeroPadding2D(1)(x)
    return _conv_bn(x, filters, 3, conv, batch_norm, stride=2, padding="valid", activation=activation)


def _conv_bn(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    conv: str,
    batch_norm: str,
    *,
    stride: int = 1,
    padding: str = "same",
    activation: bool = True,
) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False, kernel_initializer="he_normal", name=conv)(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name=batch_norm)(x)
    return layers.ReLU()(x) if activation else x
