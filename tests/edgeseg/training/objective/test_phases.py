from __future__ import annotations

import numpy as np
import pytest

from edgeseg.training.config import TrainConfig
from edgeseg.training.objective.phases import phases_of
from edgeseg.training.objective.schedules import schedule_of


def test_phases_have_their_own_batch_size_and_peak() -> None:
    config = TrainConfig(
        model="unet_mini",
        data="data",
        optimizer="sgd",
        epochs=10,
        freeze_epochs=4,
        freeze_batch_size=32,
        nominal_batch_size=16,
    )
    frozen, free = phases_of(config)
    assert (frozen.start, frozen.end, frozen.batch_size, frozen.frozen) == (0, 4, 32, True)
    assert (free.start, free.end, free.batch_size, free.frozen) == (4, 10, 8, False)
    # sgd's 7e-3 is for 16 images in a step.
    assert (frozen.learning_rate, free.learning_rate) == (14e-3, 3.5e-3)
    assert float(schedule_of(config, free, steps_per_epoch=3)(0)) == pytest.approx(3.5e-3 * (1 + np.cos(np.pi / 4)) / 2)


def test_an_encoder_that_is_frozen_for_good_has_one_phase() -> None:
    settings = {
        "model": "unet_mini",
        "data": "data",
        "epochs": 10,
        "freeze_batch_size": 32,
        "freeze_learning_rate": 0.5,
    }
    (phase,) = phases_of(TrainConfig(**settings, freeze_epochs="all"))  # type: ignore[arg-type]
    assert (phase.start, phase.end, phase.batch_size, phase.learning_rate, phase.frozen) == (0, 10, 32, 0.5, True)
    (phase,) = phases_of(TrainConfig(model="unet_mini", data="data", epochs=10))
    assert (phase.start, phase.end, phase.frozen) == (0, 10, False)
