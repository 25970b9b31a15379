"""Compute Winograd's F(4, 3) along the width of a map in three parts: input maps, kernels and output maps.

Four neighbors of a row and the three taps of a kernel's row are two polynomials, whose product is known from its
values at six points, 0, 1, -1, 2, -2 and infinity (Lavin & Gray 2015, "Fast Algorithms for Convolutional Neural
Networks"; matrices B, G and A there):

    d_i = DepthwiseConv2D((1, 6), stride 4)(x)    columns 4t - 1 ... 4t + 4 times the row i of B^T    6 of (H, W/4, C)
    k_i                                           the rows of the kernel times the row i of G         6 of (3, 1, C, F)
    m_i = Conv2D(F, (3, 1))(d_i)                  what the caller does with the two                   6 of (H, W/4, F)
    y_j = sum over i of A_ij m_i                  13 sums and products                                4 of (H, W/4, F)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

#: Columns of the output that are computed together.
PIXELS = 4
#: The one of the six whose bias reaches all four pixels once: the point 1.
BIASED = 1

_INPUT = np.array(  # B^T
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24  # G


def input_maps(x: Any, name: str) -> Iterator[Any]:
    """Yield the six d_i ``(B, H, W/4, C)`` of a map ``(B, H, W, C)``, W divisible by 4."""
    _, height, width, channels = x.shape
    # Every row becomes an image of one row: TensorFlow has no stride along one axis alone.
    rows = ops.reshape(x, (-1, 1, width, channels))
    for i, values in enumerate(_INPUT):
        taps = (1, len(values))
        layer = layers.DepthwiseConv2D(taps, PIXELS, padding="same", use_bias=False, name=f"{name}_input_{i}")
        d = layer(rows)
        layer.set_weights([np.broadcast_to(values[None, :, None, None], (*taps, channels, 1))])
        yield ops.reshape(d, (-1, height, width // PIXELS, channels))


def kernels(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the six k_i, ``(6, 3, 1, C, F)``, of a kernel ``(3, 3, C, F)``."""
    columns: NDArray[np.float64] = np.einsum("is,rscf->ircf", _KERNEL, kernel)[:, :, None]
    return columns


def output_maps(m: Sequence[Any]) -> list[Any]:
    """Return the four y_j of the six m_i: powers of the points; a point and its negative share sum and difference."""
    s1, d1, s2, d2 = ops.add(m[1], m[2]), ops.subtract(m[1], m[2]), ops.add(m[3], m[4]), ops.subtract(m[3], m[4])
    return [
        ops.add(ops.add(m[0], s1), s2),
        ops.add(d1, ops.multiply(d2, 2.0)),
        ops.add(s1, ops.multiply(s2, 4.0)),
        ops.add(ops.add(d1, ops.multiply(d2, 8.0)), m[5]),
    ]
