"""Cut the tails off the ranges of a model's tensors, by one of three methods.

Few values far out would leave few steps for all the others. A second run over the images counts the values of every
tensor in a histogram: its edges are known from the first, and so is its size. Of a large map some of the values are
counted, spread over all rows, columns and channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import CalibrationMethod
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.onnx.onnxruntime_internals import Histograms

#: Share of the values that ``percentile`` keeps, in percent; half of the rest is cut at each end.
PERCENTILE = 99.99

# Values of a tensor that are counted in each image. Of 100 images 650 of them are beyond a limit that 1 in 20000
# exceeds, so that the share beyond it is known to 4 %. Counting all took most of the time of int8.
_MAX_VALUES = 1 << 17


def cut(ranges: Ranges, values: Iterable[Mapping[str, NDArray[Any]]], method: CalibrationMethod) -> Ranges:
    """Cut the tails off.

    Args:
        ranges: as measured, the whole ones.
        values: of some of the tensors, for each of the images; they are not looked at for ``minmax``.
        method: derives the range from the values. ``minmax`` takes the whole range; ``percentile`` omits the rarest
            values; ``entropy`` cuts where the distribution of the quantized values is nearest to that of the float
            ones (Kullback-Leibler divergence).

    Returns:
        The ranges, cut in each image where it exceeds what the method keeps. Their ``stability`` is therefore mostly
        perfect; only the whole ranges tell whether the images were enough.
    """
    if method == "minmax":
        return ranges
    histograms: Histograms | None = None
    for tensors in values:
        if histograms is None:
            histograms = Histograms(method, {name: ranges.limits(name) for name in tensors}, PERCENTILE)
        histograms.add({name: _spread(array) for name, array in tensors.items()})
    kept = histograms.thresholds() if histograms else {}
    return Ranges(
        {**ranges.low, **{name: np.maximum(ranges.low[name], limits[0]) for name, limits in kept.items()}},
        {**ranges.high, **{name: np.minimum(ranges.high[name], limits[1]) for name, limits in kept.items()}},
    )


def _spread(values: NDArray[Any]) -> NDArray[Any]:
    """Return some of a tensor's values, evenly spread."""
    step = -(-values.size // _MAX_VALUES)
    while math.gcd(step, values.size) > 1:  # else the same channels or columns would be taken in each row
        step += 1
    return values.reshape(-1)[::step]
