"""Bring the values in an encoder without batch norms to the order of 1, so that training can begin with them.

VGG-16 on ImageNet's pixels computes values in the hundreds. A new decoder would begin with logits as large, and a batch
norm after each convolution, as SegNet has it, would undo what the weights mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

#: A convolution, and the batch norm after it where the model has one; the next link takes its ReLU, pooled or not.
Link = tuple[keras.layers.Layer, keras.layers.Layer | None]

#: A channel that hardly varies is divided by this share of what its layer's channels vary by on average, not by less.
_LEAST_SHARE = 0.01


def set_transparent(chain: Sequence[Link]) -> None:
    """Set the batch norms of a chain to pass in inference what comes."""
    for _, norm in chain:
        if norm is not None:
            _set_norm(norm, mean=np.zeros(norm.gamma.shape), variance=np.ones(norm.gamma.shape))


def fit_to_images(model: keras.Model, chain: Sequence[Link], batches: Iterable[Any]) -> None:
    """Divide each channel by what it varies by over some images, which the next convolution makes up for.

    A ReLU and a pooling are the same in any unit, so the chain computes what it did, and its maps are in another unit
    for each channel. A batch norm keeps the mean that it is given: it changes nothing in training as in inference.

    Args:
        model: holds the layers, changed in place; its batch norms in the chain are transparent (``set_transparent``).
        chain: the convolutions in order.
        batches: images as the model takes them, in batches of equal size.
    """
    means, variances = _statistics(model, chain, batches)
    before: NDArray[np.float64] | None = None
    for (convolution, norm), mean, variance in zip(chain, means, variances, strict=True):
        # After a ReLU it is the size that counts; a batch norm takes the mean away.
        size = np.sqrt(variance if norm is not None else variance + mean**2)
        scale = np.maximum(size, _LEAST_SHARE * size.mean())
        kernel = np.asarray(convolution.kernel, np.float64) / scale
        convolution.kernel.assign((kernel if before is None else kernel * before[:, None]).astype(np.float32))
        convolution.bias.assign((np.asarray(convolution.bias, np.float64) / scale).astype(np.float32))
        if norm is not None:
            _set_norm(norm, mean=mean / scale, variance=variance / scale**2)
        before = scale


def _set_norm(norm: keras.layers.Layer, *, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
    """Give a batch norm statistics, and the gamma and beta with which it changes nothing."""
    for variable, value in (
        (norm.moving_mean, mean),
        (norm.moving_variance, variance),
        (norm.beta, mean),
        (norm.gamma, np.sqrt(variance + norm.epsilon)),
    ):
        variable.assign(value.astype(np.float32))


def _statistics(
    model: keras.Model, chain: Sequence[Link], batches: Iterable[Any]
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Return the mean and the variance over all images of each channel that every convolution gives."""
    seen = keras.Model(model.inputs[0], [convolution.output for convolution, _ in chain])
    sums: list[list[NDArray[np.float64]]] = [[] for _ in chain]
    for batch in batches:
        for moments, values in zip(sums, seen(batch, training=False), strict=True):
            mean, variance = keras.ops.moments(keras.ops.cast(values, "float32"), axes=(0, 1, 2))
            moments.append(np.stack([np.asarray(mean, np.float64), np.asarray(variance, np.float64)]))
    each = [np.stack(moments) for moments in sums]  # (batches, mean or variance, channels)
    return [one[:, 0].mean(axis=0) for one in each], [one[:, 1].mean(axis=0) + one[:, 0].var(axis=0) for one in each]
