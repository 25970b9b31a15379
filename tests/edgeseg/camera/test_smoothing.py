from __future__ import annotations

import numpy as np
import pytest

from edgeseg.camera.smoothing import Smoothing
from edgeseg.errors import InputError


def _pixel(frames: int, ids: list[int]) -> list[int]:
    smooth = Smoothing(frames)
    return [int(smooth(np.full((2, 3), value, np.uint8))[1, 2]) for value in ids]


def test_a_class_must_hold_for_the_frames() -> None:
    assert _pixel(3, [1, 2, 2, 2, 2, 1, 1, 1]) == [1, 1, 1, 2, 2, 2, 2, 1]


def test_a_flicker_is_not_shown() -> None:
    assert _pixel(2, [1, 2, 1, 2, 1, 3, 1]) == [1] * 7
    assert _pixel(3, [1, 2, 2, 1, 2, 2, 1]) == [1] * 7


def test_one_frame_shows_every_map() -> None:
    assert _pixel(1, [1, 2, 1, 0]) == [1, 2, 1, 0]


def test_a_count_does_not_run_over() -> None:
    # Held for 300 frames, more than a byte counts, then another class: it still has to hold for two.
    assert _pixel(2, [5] * 300 + [6, 6]) == [5] * 301 + [6]
    assert _pixel(255, [5] * 300 + [6] * 255)[-2:] == [5, 6]


def test_pixels_are_smoothed_each_for_itself_and_the_maps_stay_as_they_were() -> None:
    smooth = Smoothing(2)
    first = np.array([[0, 0]], np.uint8)
    second = np.array([[1, 0]], np.uint8)
    third = np.array([[1, 1]], np.uint8)
    shown = [smooth(ids).tolist() for ids in (first, second, third)]
    assert shown == [[[0, 0]], [[0, 0]], [[1, 0]]]
    assert (first.tolist(), second.tolist(), third.tolist()) == ([[0, 0]], [[1, 0]], [[1, 1]])


def test_what_was_returned_is_not_drawn_into_later() -> None:
    smooth = Smoothing(2)
    kept = [smooth(np.full((1, 1), value, np.uint8)) for value in (0, 1, 1, 2, 2)]
    assert [int(ids[0, 0]) for ids in kept] == [0, 0, 1, 1, 2]


def test_another_size_starts_anew() -> None:
    smooth = Smoothing(9)
    smooth(np.zeros((2, 2), np.uint8))
    assert smooth(np.ones((3, 2), np.uint8)).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("frames", [0, 256])
def test_a_count_out_of_range_is_refused(frames: int) -> None:
    with pytest.raises(InputError, match=f"1 to 255 frames, got {frames}"):
        Smoothing(frames)
