from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeseg.benchmark.distrust import drift, warnings
from edgeseg.benchmark.result import HUGE_PAGES, Environment

QUIET = Environment(device="local", machine="EPYC", system="Linux", cpus=2, governor="performance", load=0.02)
STEADY = [(0.0100, 0.0101, 0.0102), (0.0100, 0.0101, 0.0103)]


def test_a_quiet_machine_has_no_warning() -> None:
    assert warnings(STEADY, QUIET) == []
    assert warnings(STEADY, dataclasses.replace(QUIET, governor="", load=None)) == []  # not known is not bad


def test_a_wide_spread() -> None:
    (text,) = warnings([(0.010, 0.010, 0.010, 0.020, 0.020)], QUIET)
    assert text == "wide spread: 80 % of the runs lie within 10.00 to 20.00 ms, 100 % of the median"


def test_processes_that_disagree() -> None:
    (text,) = warnings([(0.010,) * 3, (0.0115,) * 3], QUIET)
    assert text == "the processes disagree: their medians go from 10.00 to 11.50 ms"
    for setting, hint in (("always", ""), ("madvise", "; transparent huge pages are 'madvise', and with 'always'")):
        linux = dataclasses.replace(QUIET, extra={HUGE_PAGES: setting})
        assert warnings([(0.010,) * 3, (0.0115,) * 3], linux)[0].startswith(f"{text}{hint}")
        assert warnings(STEADY, linux) == []


def test_other_work_and_a_governor_that_saves_power() -> None:
    busy, governor = warnings(STEADY, dataclasses.replace(QUIET, governor="powersave", load=0.4))
    assert busy == "busy machine: other work had 40 % of the CPUs just before"
    assert governor.startswith("the CPU governor is 'powersave'")


@pytest.mark.parametrize(("end", "throttles"), [(1.2, True), (1.0, False), (0.8, False)])
def test_drift(end: float, throttles: bool) -> None:
    ratio, text = drift(tuple(0.01 * np.linspace(1, end, 1000)))
    # The tenths' medians lie a twentieth inside of the ends.
    assert ratio == pytest.approx((0.05 + 0.95 * end) / (0.95 + 0.05 * end), rel=1e-3)
    assert ("throttles" in text) is throttles
    assert f"{100 * (ratio - 1):+.1f} %" in text


def test_drift_of_a_few_calls() -> None:
    assert drift((0.01, 0.02))[0] == pytest.approx(2)
    assert drift((0.01,))[0] == pytest.approx(1)
