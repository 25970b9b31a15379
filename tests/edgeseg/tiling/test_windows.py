from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec
from edgeseg.tiling.windows import Axis, Grid, overlaps, stride_of

AXES = [
    Axis(length=length, window=48, overlap=overlap, margin=margin)
    for length in (1, 47, 48, 49, 100, 257)
    for overlap, margin in ((0, 0), (8, 0), (8, 4), (24, 5), (40, 0), (40, 17))
]


@pytest.mark.parametrize("axis", AXES)
def test_every_pixel_is_counted_once(axis: Axis) -> None:
    total = np.zeros(axis.extent)
    owners = np.zeros(axis.extent, int)
    for index in range(axis.count):
        weights = axis.weights(index)
        assert weights.dtype == np.float32
        assert 0 <= weights.min() <= weights.max() <= 1
        total[axis.start(index) : axis.start(index) + axis.window] += weights
        first, last = axis.cut(index)
        owners[first:last] += 1
    assert axis.extent >= axis.length
    assert axis.extent - axis.step < max(axis.length, axis.window)  # no window that is not needed
    # float32 weights of up to six windows, each rounded by 6e-8
    np.testing.assert_allclose(total, 1, rtol=0, atol=4e-7)
    assert (owners == 1).all()


def test_a_window_does_not_count_near_its_inner_edges_and_wholly_in_its_middle() -> None:
    axis = Axis(length=200, window=64, overlap=24, margin=8)
    first, middle = axis.weights(0), axis.weights(1)
    assert (first[:40] == 1).all()  # the edge of the image is none between windows
    assert (first[-8:] == 0).all()
    assert (middle[:8] == 0).all() and (middle[-8:] == 0).all()
    assert (middle[24:40] == 1).all()
    assert (np.diff(middle[8:16]) > 0).all()
    cut = Axis(length=200, window=64, overlap=24, margin=12)  # no room to blend: every pixel has one window
    assert set(cut.weights(1)) == {np.float32(0), np.float32(1)}


@pytest.mark.parametrize(
    ("side", "stride"), [(512, 64), (480, 32), (384, 64), (360, 8), (256, 64), (128, 32), (48, 8), (33, 1), (2, 1)]
)
def test_windows_begin_at_multiples_of_what_strides_can_be(side: int, stride: int) -> None:
    assert stride_of(side) == stride


@pytest.mark.parametrize(
    ("radius", "asked", "expected"),
    [
        (None, None, (128, 128)),  # a quarter of the sides; 96 and 120 leave no whole step of 64 and 32
        ("global", None, (128, 128)),
        ((20, 20), None, (64, 64)),
        ((0, 0), None, (0, 0)),
        ((90, 200), None, (192, 128)),  # 400 of 480 is more than a half
        ((20, 20), 65, (128, 96)),
        (None, 0, (0, 0)),
    ],
)
def test_the_overlap_is_twice_the_radius_where_half_a_window_has_it(
    tiny_spec: ModelSpec, radius: Any, asked: int | None, expected: tuple[int, int]
) -> None:
    spec = tiny_spec.replace(input_size=(384, 480), receptive_radius=radius)
    rows, columns = overlaps(spec, asked)
    assert (384 - rows) % 64 == (480 - columns) % 32 == 0
    assert (rows, columns) == expected


def test_a_radius_that_fits_is_the_margin_and_another_is_none(tiny_spec: ModelSpec) -> None:
    spec = tiny_spec.replace(input_size=(384, 480), receptive_radius=(20, 100))
    grid = Grid.of((1000, 1000), spec, 64)
    assert (grid.rows.margin, grid.columns.margin) == (20, 0)
    assert not grid.is_exact
    assert Grid.of((1000, 1000), spec, 200).is_exact
    assert Grid.of((384, 480), spec.replace(receptive_radius=None), 64).is_exact  # one window


@pytest.mark.parametrize(
    ("length", "step", "extent"),
    [(768, 192, 768), (736, 192, 768), (704, 320, 704), (384, 320, 384), (3000, 320, 3264)],
)
def test_windows_are_spread_over_an_image(tiny_spec: ModelSpec, length: int, step: int, extent: int) -> None:
    rows = Grid.of((length, 480), tiny_spec.replace(input_size=(384, 480)), 48).rows
    # With 320 the third window of 768 rows would begin at 640 and see 256 rows of reflection.
    assert (rows.step, rows.extent) == (step, extent)


@pytest.mark.parametrize("overlap", [-1, 449, 3.5])
def test_an_overlap_without_a_step_is_refused(tiny_spec: ModelSpec, overlap: Any) -> None:
    with pytest.raises(InputError, match=r"`overlap` must be 0 to 320 pixels .* 384,480 \(H,W\), in whole pixels, got"):
        overlaps(tiny_spec.replace(input_size=(384, 480)), overlap)
