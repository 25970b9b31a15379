"""Compute a 3x3 convolution after a nearest x2 upsampling by differences: 9 multiplications in place of 36.

    Given:   y = Conv2D(F, 3, "same")(UpSampling2D(2)(x))                  x (B, h, w, C), y (B, 2h, 2w, F)
    Result:  y = DepthToSpace(2)(concat(y_00, y_01, y_10, y_11))           y_ab (B, h, w, F)

Along one axis, with x_-1 = x_h = 0, an odd pixel and the even one after it read the same two source pixels:

    odd:    y_2i-1 = (k_0 + k_1) x_i-1 + k_2 x_i                           two taps
    even:   y_2i   = k_0 x_i-1 + (k_1 + k_2) x_i = y_2i-1 + k_1 (x_i - x_i-1)   one tap, on the differences

Both axes: with dh, dv and d the differences of the padded map along the width, along the height and along both, and
``odd`` the two taps above, all four kernels are the old one's taps summed:

    oo = Conv2D(odd x odd)(x)      oe = oo + Conv2D(odd x k_1)(dh)         4 + 2 multiplications
    eo = oo + Conv2D(k_1 x odd)(dv)    ee = oe + Conv2D(k_1 x odd)(dv) + Conv2D(k_1 x k_1)(d)   2 + 1

They have h+1 rows and w+1 columns; those of an odd pixel are shifted by one, so y_00 = ee[:-1, :-1], y_11 = oo[1:, 1:].
This saves as much as a Winograd convolution; it costs seven sums and four slices of small maps.

Cost, the layers that ``upsample_conv_phases`` was measured with:

    C                      8     16    32    48    64    128   256   512
    LiteRT (XNNPACK)       2.0   1.5   2.1   2.8   2.2   3.0   3.1   3.4    times as fast
    ONNX Runtime           0.8   0.8   1.1   1.4   1.5   2.0   2.6   3.0

There are as many weights as before, while the phases have 16 for every 9. Differences have twice the range of the map,
so in integers they would cost precision.

Holds where ``upsample_conv`` says. Float32 rounding only: a difference of neighbors is rounded once, and the measured
error is that of the phases (1e-5 at 512 channels).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from edgeseg.choices import INTEGERS
from edgeseg_converters.rewrites.shared.convolution import new_conv
from edgeseg_converters.rewrites.shared.upsample_conv import UpsampleConv

# The taps of three that each new tap sums up: two for odd pixels, one for what even pixels have in addition.
_ODD, _MORE = np.array([[1, 1, 0], [0, 0, 1]]), np.array([[0, 1, 0]])


class UpsampleConvToDifferences(UpsampleConv):
    """See the module."""

    not_for = INTEGERS  # seven more sums, each rounded to 8 bits with a range of its own

    def __init__(self, min_channels: int = 48) -> None:
        super().__init__(min_channels)

    def phases(
        self, x: Any, kernel: NDArray[np.float64], bias: NDArray[np.float64], activation: Any, name: str
    ) -> list[Any]:
        """Return the four phases; the bias is in ``oo``, which all of them contain."""

        def convolve(x: Any, rows: NDArray[Any], columns: NDArray[Any], part: str, bias: Any = None) -> Any:
            taps = np.einsum("pr,qs,rscf->pqcf", rows, columns, kernel)
            return new_conv(x, taps, bias, name=f"{name}_{part}")

        x = layers.ZeroPadding2D(1, name=f"{name}_border")(x)
        dh, dv = ops.subtract(x[:, :, 1:], x[:, :, :-1]), ops.subtract(x[:, 1:], x[:, :-1])
        d = ops.subtract(dh[:, 1:], dh[:, :-1])
        oo = convolve(x, _ODD, _ODD, "odd_odd", bias)
        oe = ops.add(oo, convolve(dh, _ODD, _MORE, "odd_more"))
        down = convolve(dv, _MORE, _ODD, "more_odd")
        eo = ops.add(oo, down)
        ee = ops.add(oe, ops.add(down, convolve(d, _MORE, _MORE, "more_more")))
        pixels = ee[:, :-1, :-1], eo[:, :-1, 1:], oe[:, 1:, :-1], oo[:, 1:, 1:]
        if activation is None:
            return list(pixels)
        return [layers.Activation(activation, name=f"{name}_{i}")(y) for i, y in enumerate(pixels)]
