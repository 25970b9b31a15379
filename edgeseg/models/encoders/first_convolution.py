"""Make an encoder that was trained on other pixels take those of the model: in its first convolution."""

from __future__ import annotations

import keras
import numpy as np

from edgeseg.models.encoders.published import Pixels
from edgeseg.spec import ModelSpec


def fold_pixels(first: keras.layers.Layer, then: keras.layers.Layer, pixels: Pixels, spec: ModelSpec) -> bool:
    """Change a convolution so that it gives for a model's input what it gave for the pixels that it was trained on.

    It is exact wherever the kernel lies within the image. Where it reaches over the border it meets zeros, which are
    another gray in each of the two.

    Args:
        first: the convolution that takes the image, changed in place.
        then: the layer with weights after it; its moving mean takes the shift where the convolution has no bias.
        pixels: what it was trained on.
        spec: how the model is fed.

    Returns:
        Whether there was something to change.
    """
    kernel = np.asarray(first.kernel, np.float64)  # (h, w, 3, filters), in the order of the encoder's channels
    mean, std = np.array(pixels.mean), np.array(pixels.std)
    if pixels.order != spec.color_order:
        kernel, mean, std = kernel[:, :, ::-1], mean[::-1], std[::-1]
    if pixels.order == spec.color_order and np.array_equal(mean, spec.mean) and np.array_equal(std, spec.std):
        return False
    # The model has (pixel - m) / s, the encoder wants (pixel - mean) / std.
    shift = ((np.array(spec.mean) - mean) / std) @ kernel.sum(axis=(0, 1))
    first.kernel.assign((kernel * (np.array(spec.std) / std)[:, None]).astype(np.float32))
    if first.use_bias:
        first.bias.assign((np.asarray(first.bias, np.float64) + shift).astype(np.float32))
    else:
        then.moving_mean.assign((np.asarray(then.moving_mean, np.float64) - shift).astype(np.float32))
    return True
