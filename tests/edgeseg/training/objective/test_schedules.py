from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseg.training.objective.schedules import EpochSchedule, LearningRateCurve


def rates(kind: Any, steps: list[int], **settings: Any) -> list[float]:
    """Of a run of 12 epochs of 10 steps, with two of warm-up and a peak of 1."""
    run = {name: settings.pop(name) for name in ("start_epoch", "steps_per_epoch") if name in settings}
    curve = LearningRateCurve(**{"kind": kind, "warmup_epochs": 2, **settings})
    schedule = EpochSchedule(curve, 1.0, **{"epochs": 12, "steps_per_epoch": 10, **run})
    again = EpochSchedule.from_config(schedule.get_config())
    assert float(again(steps[-1])) == float(schedule(steps[-1]))
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    ("kind", "settings", "steps", "expected"),
    [
        ("cosine", {}, [0, 5, 20, 70, 120], [0, 0.25, 1, 0.5, 0]),
        ("cosine", {"final_share": 0.1}, [120], [0.1]),
        # The tutorial's ten stages, from the peak to a hundredth of it: the second begins after a tenth of the way.
        ("step", {}, [20, 29, 30, 119], [1, 1, 0.01 ** (1 / 9), 0.01]),
        ("exponential", {}, [20, 29, 30, 119], [1, 1, 0.96, 0.96**9]),
        ("constant", {"warmup": "staircase", "warmup_epochs": 5}, [0, 9, 10, 49, 50], [0.2, 0.2, 0.4, 1, 1]),
        # The second phase of a run goes on where the first one was.
        ("cosine", {"start_epoch": 7, "steps_per_epoch": 5}, [0], [0.5]),
    ],
)
def test_the_curve(kind: str, settings: dict[str, Any], steps: list[int], expected: list[float]) -> None:
    # float32's rounding of the epoch count and of the cosine
    np.testing.assert_allclose(rates(kind, steps, **settings), expected, atol=1e-6)
