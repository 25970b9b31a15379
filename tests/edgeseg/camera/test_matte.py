"""``matte``: noise of still pixels falls, and nothing of what moved stays."""

from __future__ import annotations

import numpy as np

from edgeseg.camera.matte import SteadyMatte


def test_a_square_that_moves_leaves_no_ghost() -> None:
    """Each frame is what the model says of it, wherever that differs by a quarter or more; so are all of a square."""
    steady = SteadyMatte()
    for step in range(6):
        mask = np.full((40, 200), 0.02, np.float32)
        mask[10:30, 30 * step : 30 * step + 20] = 0.97
        np.testing.assert_allclose(steady(mask), mask, atol=1e-6)  # rounding of float32


def test_of_a_smaller_change_a_sixteenth_stays_at_most() -> None:
    """``d * (1 - d / 0.25)`` is largest for d = 1/8; the smooth step of the guided filter starts at a fifth."""
    changes = np.linspace(0, 1, 101, dtype=np.float32)[None]
    for low, high in ((np.zeros_like(changes), changes), (changes, np.zeros_like(changes))):
        steady = SteadyMatte()
        steady(low)
        left = np.abs(steady(high) - high)
        assert left.max() <= 1 / 16 + 1e-6
        assert left[changes >= 0.25].max() < 1e-6


def test_the_noise_of_what_is_still_falls() -> None:
    """To 42 % where nothing exceeds the blend's threshold; noise of 0.02 goes beyond 0.075 once in 1e4 pixels."""
    random = np.random.default_rng(0)
    steady, kept = SteadyMatte(), []
    for _ in range(40):
        noisy = (0.5 + random.normal(0, 0.02, (64, 64))).astype(np.float32)
        kept.append(steady(noisy).copy())
    assert 0.38 < np.std(kept[20:]) / 0.02 < 0.46


def test_a_mask_of_another_size_starts_anew() -> None:
    steady = SteadyMatte()
    steady(np.ones((4, 4), np.float32))
    mask = np.full((2, 8), 0.95, np.float32)
    assert (steady(mask) == mask).all()


def test_what_was_returned_does_not_change() -> None:
    steady = SteadyMatte()
    steady(np.zeros((2, 2), np.float32))
    second = steady(np.full((2, 2), 0.1, np.float32))
    before = second.copy()
    steady(np.ones((2, 2), np.float32))
    assert (second == before).all()
