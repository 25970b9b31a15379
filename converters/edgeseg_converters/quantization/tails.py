"""Cut the tails off the ranges of a model's tensors, by one of four methods.

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

# For ``mse``: of a histogram, and which of its edges are tried as the ends of the range.
_BINS, _EVERY = 2048, 16

# Steps of an 8-bit integer.
_STEPS = 255

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
            ones (Kullback-Leibler divergence); ``mse`` where their mean squared error is least.

    Returns:
        The ranges, cut in each image where it exceeds what the method keeps. Their ``stability`` is therefore mostly
        perfect; only the whole ranges tell whether the images were enough.
    """
    if method == "minmax":
        return ranges
    histograms: Histograms | _Counts | None = None
    for tensors in values:
        if histograms is None:
            limits = {name: ranges.limits(name) for name in tensors}
            histograms = _Counts(limits) if method == "mse" else Histograms(method, limits, PERCENTILE)
        histograms.add({name: _spread(array) for name, array in tensors.items()})
    kept = histograms.thresholds() if histograms else {}
    return Ranges(
        {**ranges.low, **{name: np.maximum(ranges.low[name], limits[0]) for name, limits in kept.items()}},
        {**ranges.high, **{name: np.minimum(ranges.high[name], limits[1]) for name, limits in kept.items()}},
    )


class _Counts:
    """Count the values of tensors, and cut both ends where rounding and cutting off together err least."""

    def __init__(self, limits: Mapping[str, tuple[float, float]]) -> None:
        # Zero is a value of every integer tensor.
        self._edges = {
            name: np.linspace(min(low, 0.0), max(high, 0.0) or 1.0, _BINS + 1) for name, (low, high) in limits.items()
        }
        self._counts = {name: np.zeros(_BINS) for name in limits}

    def add(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Count the values of one image's tensors."""
        for name, values in tensors.items():
            edges = self._edges[name]
            places = ((values - edges[0]) * (_BINS / (edges[-1] - edges[0]))).astype(np.int64)
            self._counts[name] += np.bincount(places.clip(0, _BINS - 1), minlength=_BINS)

    def thresholds(self) -> dict[str, tuple[float, float]]:
        """Return the lowest and the highest value that is kept of each tensor."""
        return {name: _least_error(self._edges[name], counts) for name, counts in self._counts.items()}


def _least_error(edges: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range whose 255 steps give the least squared error.

    Args:
        edges: of the bins.
        counts: of the values in each.
    """
    centers = (edges[:-1] + edges[1:]) / 2
    lows, highs = edges[edges <= 0][::_EVERY], edges[edges >= 0][::-1][::_EVERY]
    lows, highs = (ends if ends.size else np.zeros(1) for ends in (lows, highs))
    below = [float(counts @ np.square(np.minimum(centers - low, 0))) for low in lows]
    above = [float(counts @ np.square(np.maximum(centers - high, 0))) for high in highs]
    # A value is anywhere between two steps, so that its square error is a twelfth of a step's square.
    rounding = np.square((highs - lows[:, None]) / _STEPS) / 12 * counts.sum()
    low, high = np.unravel_index(np.argmin(np.add.outer(below, above) + rounding), rounding.shape)
    return float(lows[low]), float(highs[high])


def _spread(values: NDArray[Any]) -> NDArray[Any]:
    """Return some of a tensor's values, evenly spread."""
    step = -(-values.size // _MAX_VALUES)
    while math.gcd(step, values.size) > 1:  # else the same channels or columns would be taken in each row
        step += 1
    return values.reshape(-1)[::step]
