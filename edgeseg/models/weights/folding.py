"""Read the weights of a packaged model from its fp16 ``.tflite`` file, where each kernel is folded with its batch norm.

A wheel has each kernel once then: with a file of the kernels beside it, it would be half as large again. Only the batch
norms, 2 percent of the weights, are in a file of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path
from edgeseg.tflite.convolutions import Convolution, read_convolutions

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def save_norms(model: keras.Model, path: Path) -> None:
    """Save the batch norms of a model in half precision, and give the model the rounded ones.

    Args:
        model: its norms have scale and center; changed in place.
        path: an ``.npz`` file, which is replaced: of each norm an array ``(4, channels)``, by its name. It is not
            compressed, as the wheel does that, over all arrays at once.
    """
    rounded: dict[str, NDArray[np.float16]] = {}
    for _, norm in _convolutions(model):
        if norm is not None:
            values = [np.asarray(getattr(norm, name)).astype(np.float16) for name in _NORM]
            norm.set_weights([value.astype(np.float32) for value in values])
            rounded[norm.name] = np.stack(values)
    with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, **rounded)  # type: ignore[arg-type]  # its stub has another keyword


def load_folded(model: keras.Model, artifact: Path, norms: Path) -> None:
    """Fill a model with the weights of its file: ``kernel = folded * sqrt(variance + epsilon) / gamma``.

    A kernel differs from the one that was folded by the rounding of half precision.

    Args:
        model: a model of convolutions, each with a batch norm after it or with a bias; changed in place.
        artifact: the fp16 ``.tflite`` that was exported of it.
        norms: of ``save_norms``.

    Raises:
        ValueError: the file is of another model.
    """
    convolutions = read_convolutions(artifact.read_bytes())
    with np.load(norms, allow_pickle=False) as saved:
        for folded, (layer, norm) in zip(convolutions, _convolutions(model), strict=True):
            kernel = _in_keras_order(folded)
            if norm is None:
                layer.set_weights([kernel, folded.bias.astype(np.float32)])
                continue
            values = list(saved[norm.name].astype(np.float32))
            norm.set_weights(values)
            gamma, _, _, variance = values
            # Where gamma is 0 the channel is a constant, whatever its kernel.
            factor = np.divide(np.sqrt(variance + norm.epsilon), gamma, out=np.zeros_like(gamma), where=gamma != 0)
            channels = (*factor.shape, 1) if folded.depthwise else factor.shape
            layer.set_weights([kernel * factor.reshape(channels)])


def _convolutions(model: keras.Model) -> Iterator[tuple[keras.Layer, keras.Layer | None]]:
    """Yield the convolutions in the order of execution, each with the batch norm that is next to it."""
    for layer, after in zip(model.layers, [*model.layers[1:], None], strict=True):
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            yield layer, after if isinstance(after, keras.layers.BatchNormalization) else None


def _in_keras_order(folded: Convolution) -> NDArray[np.float32]:
    """Return ``(h, w, in, out)``; of a depthwise kernel ``(h, w, out, 1)``."""
    kernel = folded.kernel.astype(np.float32)
    return kernel[0][..., None] if folded.depthwise else kernel.transpose(1, 2, 3, 0)
