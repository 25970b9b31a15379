"""Reach what ONNX Runtime's quantization does not export: the one door to it; seen in 1.32.0.

``calibrate.HistogramCollector`` has the arithmetic of ``percentile`` and ``entropy``. The calibrators around it, which
are public, keep the tensors of every image until the last; here its histograms are created beforehand, with known
edges, and filled image by image. For that ``histogram_dict`` is set: name to ``(counts, edges, low, high, largest)``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from edgeseg.choices import CalibrationMethod

# With the library's own 128 bins, as many as its quantized ones, entropy has one candidate: the whole range.
_BINS = 2048
_QUANTIZED_BINS = 128


class Histograms:
    """Histograms of tensors, of a size that does not depend on how many images fill them."""

    def __init__(self, method: CalibrationMethod, limits: Mapping[str, tuple[float, float]], percentile: float) -> None:
        """Create the histograms, all empty.

        Args:
            method: ``percentile`` or ``entropy``.
            limits: name of a tensor to the smallest and the largest value that it will have.
            percentile: share of the values that ``percentile`` keeps, in percent.
        """
        self._collector = HistogramCollector(method, False, _BINS, _QUANTIZED_BINS, percentile, "same")
        for name, (smallest, largest) in limits.items():
            low, high = np.float32(smallest), np.float32(largest)
            most = max(abs(low), abs(high), np.finfo(np.float32).tiny)
            edges = np.linspace(-most, most, _BINS + 1, dtype=np.float32)
            self._collector.histogram_dict[name] = (np.zeros(_BINS, np.int64), edges, low, high, most)

    def add(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Count the values of one image's tensors.

        Args:
            tensors: name to values, of any shape, for the names in ``limits``.
        """
        self._collector.collect_value(dict(tensors))  # "collect" prints first

    def thresholds(self) -> dict[str, tuple[Any, ...]]:
        """Return the lowest and the highest value that the method keeps of each tensor."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints
            kept = self._collector.compute_collection_result()
        return {name: kept[name][:2] for name in self._collector.histogram_dict}
