"""Choose a factor for every channel, so that the one range of an integer tensor fits all channels of the map.

Where the ranges of the channels differ 100-fold, the small ones have two steps left. Cross-layer equalization is by
Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (arXiv:1906.04721). There weights
have one scale for all channels. Here each output channel of a kernel has its own, so that a factor costs nothing where
it is divided out, nor in a depthwise convolution. Where an ordinary convolution reads the map, the spread is shared
equally between the activations and the kernel, as in SmoothQuant (Xiao et al., arXiv:2211.10438).

The factors are powers of two: the float network computes the same to the bit.

Below a ReLU6 a channel may only be enlarged, and only until twice its largest value on the images reaches the limit.
Its own limit falls with that, to at least twice what the images have; the integer tensor ends at their largest value in
any case.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgeseg_converters.equalization.network import Network

# Factors beyond it would serve channels that carry next to nothing.
_MOST_BITS = 12

# Below a limit: how far beyond the images a channel must still be free.
_ROOM = 2.0


def choose_factors(network: Network, largest: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Choose what each channel is divided by.

    Args:
        network: whose channels.
        largest: from ``Network.largest``.

    Returns:
        A power of two for each variable, ``(channels.count,)`` float32; 1 for the tied ones of group 0.
    """
    channels = network.channels
    activations, weights = np.zeros(channels.count), np.zeros(channels.count)
    for name, groups in channels.free().items():
        if (most := float(largest[name].max())) > 0:
            np.maximum.at(activations, groups, largest[name] / most)
    for layer in network.layers:
        if layer.kernel.shape[1] == 1:
            continue  # one input channel for each output channel, which has a scale of its own
        size = np.abs(layer.kernel).max(axis=2)
        rows = size.max(axis=1, keepdims=True)
        shares = np.divide(size, rows, out=np.zeros_like(size), where=rows > 0)
        np.maximum.at(weights, channels.groups(np.broadcast_to(layer.into, size.shape)), shares)
    used = activations > 0
    bits = np.zeros(channels.count)
    bits[used] = np.log2(activations[used])
    shared = used & (weights > 0)
    bits[shared] = (bits[shared] - np.log2(weights[shared])) / 2
    bits = np.clip(np.rint(bits), -_MOST_BITS, _MOST_BITS)
    for limit in network.limits:
        if limit.name in largest:
            groups = channels.free()[limit.name]
            needed = np.maximum(_ROOM * largest[limit.name] / limit.value, 2.0**-_MOST_BITS)
            least = np.minimum(np.ceil(np.log2(needed)), 0)
            np.maximum.at(bits, groups, least)
            np.minimum.at(bits, groups, 0)
    bits[0] = 0
    every = channels.groups(np.arange(channels.count))
    return np.exp2(bits).astype(np.float32)[every]
