"""What we reach of ONNX Runtime's quantization without its documentation, and what to look for where it is gone."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest

from edgeseg.choices import CalibrationMethod

_INSTEAD = (
    "the histogram behind onnxruntime.quantization's create_calibrator(calibrate_method=Percentile), "
    "or take numpy.histogram and a percentile of it"
)


def test_the_collector_is_there() -> None:
    from onnxruntime.quantization import calibrate

    if not hasattr(calibrate, "HistogramCollector"):
        pytest.fail(
            f"onnxruntime {version('onnxruntime')} has no calibrate.HistogramCollector; seen in 1.32.0. "
            f"Look for {_INSTEAD}."
        )
    for name in ("collect_value", "compute_collection_result"):
        assert hasattr(calibrate.HistogramCollector, name), f"HistogramCollector has no {name}; look for {_INSTEAD}"


# entropy keeps 128 of the 2048 bins at least, which are 0.1 wide here.
@pytest.mark.parametrize(("method", "largest"), [("percentile", 1.2), ("entropy", 12.5)])
def test_a_tail_is_cut_that_comes_in_parts(method: CalibrationMethod, largest: float) -> None:
    """One value in ten thousand is 100, all others are in [-1, 1]."""
    from edgeseg_converters.onnx.onnxruntime_internals import Histograms

    values = np.random.default_rng(0).uniform(-1, 1, 40_000).astype(np.float32)
    values[::10_000] = 100
    histograms = Histograms(method, {"x": (-1.0, 100.0)}, percentile=99.9)
    for part in np.split(values, 4):
        histograms.add({"x": part.reshape(10, -1)})
    low, high = histograms.thresholds()["x"]
    assert -1.2 < low < -0.9, f"the arithmetic of {method} is another; look for {_INSTEAD}"
    assert 0.9 < high < largest, f"the arithmetic of {method} is another; look for {_INSTEAD}"
