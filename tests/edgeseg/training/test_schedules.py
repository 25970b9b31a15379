from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseg.training.config import TrainConfig
from edgeseg.training.phases import phases_of
from edgeseg.training.schedules import EpochSchedule, schedule_of


def rates(kind: Any, steps: list[int], **settings: Any) -> list[float]:
    """Of a run of 12 epochs of 10 steps, with two of warm-up and a peak of 1."""
    settings = {"epochs": 12, "steps_per_epoch": 10, "warmup_epochs": 2, **settings}
    schedule = EpochSchedule(kind, 1.0, **settings)
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


def test_phases_have_their_own_batch_size_and_peak() -> None:
    config = TrainConfig(
        "unet_mini", "data", optimizer="sgd", epochs=10, freeze_epochs=4, freeze_batch_size=32, nominal_batch_size=16
    )
    frozen, free = phases_of(config)
    assert (frozen.start, frozen.end, frozen.batch_size, frozen.frozen) == (0, 4, 32, True)
    assert (free.start, free.end, free.batch_size, free.frozen) == (4, 10, 8, False)
    # sgd's 7e-3 is for 16 pictures in a step.
    assert (frozen.learning_rate, free.learning_rate) == (14e-3, 3.5e-3)
    assert float(schedule_of(config, free, steps_per_epoch=3)(0)) == pytest.approx(3.5e-3 * (1 + np.cos(np.pi / 4)) / 2)
