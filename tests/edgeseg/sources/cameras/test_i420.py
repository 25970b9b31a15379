"""``i420``: raw frames become images in the right colors, with FFmpeg's libraries and without."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.sources.cameras.i420 import I420
from edgeseg.video.library import available


def frame(layout: I420, image_bgr: np.ndarray) -> np.ndarray:
    """A frame of an image whose colors are those of 2x2 pixels, by the formulas of BT.601; its padding is noise."""
    blue, green, red = (image_bgr[..., channel].astype(float) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = (blue - luma) / 1.772, (red - luma) / 1.402
    if not layout.full_range:
        luma, chroma = 16 + luma * 219 / 255, tuple(plane * 224 / 255 for plane in chroma)
    data = np.random.default_rng(0).integers(0, 256, layout.num_bytes, np.uint8)
    rows = data[: layout.stride * layout.height].reshape(layout.height, layout.stride)
    rows[:, : layout.width] = np.rint(luma)
    planes = data[layout.stride * layout.height :].reshape(2, layout.height // 2, layout.chroma_stride)
    for plane, values in zip(planes, chroma, strict=True):
        plane[:, : layout.width // 2] = np.rint(values[::2, ::2] + 128)
    return data


@pytest.mark.parametrize("full_range", [True, False])
@pytest.mark.parametrize(("luma", "chroma"), [(1, 1), (64, 32), (4, 4)])
def test_colors_are_right(luma: int, chroma: int, full_range: bool) -> None:
    layout = I420.aligned(34, 16, luma=luma, chroma=chroma, full_range=full_range)
    colors = np.random.default_rng(1).integers(0, 256, (2, 2, 3), np.uint8)
    image_bgr = colors.repeat(8, axis=0).repeat((18, 16), axis=1)
    data = frame(layout, image_bgr)
    # Half a step of luma and half a step of chroma, of which blue takes 1.772, and 255 / 224 of that where the range is
    # limited; the table of OpenCV's way rounds once more.
    inside = np.s_[2:6, 4:14]
    for found, most in ((layout.image(data), 3), (layout.image_by_opencv(data), 4)):
        assert found.shape == (16, 34, 3)
        assert np.abs(found[inside].astype(int) - image_bgr[inside]).max() <= most


@pytest.mark.skipif(not available(), reason="PyAV is not installed")
def test_both_ways_agree_beside_edges() -> None:
    layout = I420.aligned(64, 32, full_range=True)
    ramp = np.add.outer(np.arange(32), np.arange(64))  # at most 93: a step of 1 a pixel
    image_bgr = np.stack((ramp * 2, 255 - ramp, ramp + 100), axis=2).astype(np.uint8)
    data = frame(layout, image_bgr)
    # Chroma that is interpolated between pixels, in two ways.
    difference = np.abs(layout.image(data).astype(int) - layout.image_by_opencv(data))
    assert difference[2:-2, 2:-2].max() <= 4


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [(0, 4, "frames of 0x4 are not read"), (1 << 20, 1 << 20, "pixels."), (3, 4, "frames of 3x4 .*: even sides")],
)
def test_a_size_that_no_frame_has_is_refused(width: int, height: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        I420.aligned(width, height, full_range=True)
