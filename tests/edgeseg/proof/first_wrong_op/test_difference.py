from __future__ import annotations

import math

import numpy as np
import pytest

from edgeseg.proof.first_wrong_op.difference import Difference, difference


def test_a_difference_is_that_of_the_worst_channel() -> None:
    cpu = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype(np.float32)
    off = cpu.copy()
    off[..., 2] += 0.5
    size = float(np.sqrt(np.mean(cpu**2)))
    assert difference(off, cpu, axis=3).relative == pytest.approx(0.5 / size, rel=1e-5)
    assert difference(off, cpu, axis=1).relative == pytest.approx(0.25 / size, rel=1e-5)
    assert difference(cpu, cpu, axis=3) == Difference(0.0)
    assert difference(cpu[:, :4], cpu, axis=3).relative == math.inf


def test_a_step_of_a_quantized_value_is_rounding() -> None:
    cpu = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4) * np.float32(0.1)
    one = difference(cpu + np.float32(0.1), cpu, axis=3, step=0.1)
    assert one.steps == pytest.approx(1, abs=1e-3) and one.reaches(0.01) and one.is_rounding
    assert not difference(cpu + np.float32(0.2), cpu, axis=3, step=0.1).is_rounding


def test_integers_are_counted() -> None:
    cpu = np.zeros((1, 4, 5), np.uint8)
    off = cpu.copy()
    off[0, 0, :2] = 200
    assert difference(off, cpu, axis=2) == Difference(0.1, is_share=True)
    assert difference(off, cpu, axis=2).reaches(0.5) and not difference(cpu, cpu, axis=2).reaches(0.5)
    assert not difference(off, cpu, axis=2).is_rounding and difference(cpu, cpu, axis=2).is_rounding


def test_numbers_that_are_none_on_both_sides_are_the_same() -> None:
    cpu = np.array([1.0, np.nan, np.inf], np.float32)
    assert difference(cpu, cpu.copy(), axis=0).relative == 0
    assert difference(np.array([1.0, 0.0, np.inf], np.float32), cpu, axis=0).relative == math.inf
