from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.training.data.camera_faults import CameraFaults

GRAY = np.full((40, 60, 3), 128, np.uint8)
# Stripes of two pixels, in three unlike channels.
STRIPES = np.repeat((np.arange(60) // 2 % 2 * 200 + 20)[None, :, None], 40, axis=0).astype(np.uint8) + np.array(
    [0, 15, 30], np.uint8
)


def seeded(image: np.ndarray, seed: int = 0, **faults: Any) -> np.ndarray:
    changed = CameraFaults(**faults)(image, np.random.default_rng(seed))
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    return changed


def test_the_defaults_change_nothing() -> None:
    assert (seeded(STRIPES) == STRIPES).all()


def test_gamma_and_tint_move_the_gray_within_their_bounds() -> None:
    grays = [int(seeded(GRAY, seed, gamma=2.0)[0, 0, 0]) for seed in range(40)]
    assert min(grays) >= round(255 * (128 / 255) ** 2) and max(grays) <= round(255 * (128 / 255) ** 0.5)
    assert min(grays) < 90 and max(grays) > 160, "both ways"
    red, green, blue = seeded(GRAY, tint=0.2)[0, 0].astype(int)
    assert green == 128
    assert 0 < max(abs(red - 128), abs(blue - 128)) <= round(128 * 0.2)


def test_a_light_falls_off_from_one_side_and_leaves_the_middle() -> None:
    lit = seeded(GRAY, light=1.0, light_stops=2.0)[..., 0].astype(int)
    assert abs(lit[19:21, 29:31] - 128).max() <= 3  # the two middle pixels are beside the middle
    corners = lit[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() > 128 > corners.min()
    assert corners.max() <= 255 and corners.min() >= 63, "a factor of two to either side"


def test_noise_has_the_deviation_that_is_drawn() -> None:
    deviations = [seeded(GRAY, seed, noise=1.0, noise_sigma=10.0).astype(float).std() for seed in range(20)]
    assert max(deviations) <= 10.5  # 7200 numbers, and their rounding
    assert max(deviations) > 5


@pytest.mark.parametrize("fault", [{"soft": 1.0, "soft_sigma": 2.0}, {"jpeg": 1.0, "jpeg_quality": (30, 30)}])
def test_softness_and_jpeg_lose_detail_and_keep_the_colors(fault: dict[str, Any]) -> None:
    """Stripes keep less of their contrast, or get blocks."""
    changed = [seeded(STRIPES, seed, **fault).astype(float) for seed in range(8)]
    for image in changed:
        assert abs(image - STRIPES).mean() > 2
        assert (image.mean((0, 1)) - STRIPES.mean((0, 1))) == pytest.approx(0, abs=8)  # quantized means of 8x8 blocks


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"light": 1.5}, r"light must be 0 to 1, got 1\.5"),
        ({"gamma": 0.5}, r"gamma must be 1 or more, got 0\.5"),
        ({"noise_sigma": 0.0}, r"noise_sigma must be above 0, got 0\.0"),
        ({"tint": 1.0}, r"tint must be 0 to below 1, got 1\.0"),
        ({"jpeg_quality": (90, 20)}, r"jpeg_quality must be \(lowest, highest\) of 1 to 100, got \(90, 20\)"),
    ],
)
def test_what_is_out_of_range_is_said(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        CameraFaults(**changes)
