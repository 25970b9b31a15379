from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from edgeseg.video.color import BT601, BT709, ColorTags, ToYuv, set_tags, tags_for

av = pytest.importorskip("av", reason="PyAV is not installed")


@pytest.mark.parametrize(("rows", "tags"), [(96, BT601), (576, BT601), (719, BT601), (720, BT709), (2160, BT709)])
def test_the_size_decides(rows: int, tags: ColorTags) -> None:
    assert tags_for((rows, 1000)) is tags


# The formulas of BT.601 and BT.709: luma of pure red, green and blue in [0, 1].
@pytest.mark.parametrize(
    ("tags", "weights"), [(BT601, (0.299, 0.587, 0.114)), (BT709, (0.2126, 0.7152, 0.0722))], ids=["601", "709"]
)
def test_the_matrix_is_the_standards(tags: ColorTags, weights: tuple[float, float, float]) -> None:
    for channel, weight in zip((2, 1, 0), weights, strict=True):
        image_bgr = np.zeros((16, 16, 3), np.uint8)
        image_bgr[..., channel] = 200
        frame = av.VideoFrame.from_ndarray(image_bgr, format="bgr24")
        frame.pts, frame.time_base = 7, Fraction(1, 25)
        converted = ToYuv(tags)(frame)
        assert converted.pts == 7
        luma = converted.to_ndarray()[:16]
        # Limited range: 16 to 235. One step is rounding.
        assert np.abs(luma - (16 + 219 * 200 / 255 * weight)).max() <= 1


def test_tags_are_those_of_the_matrix() -> None:
    context = av.CodecContext.create("libx264", "w")
    set_tags(context, BT709)
    assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    set_tags(context, BT601)
    assert (context.colorspace, context.color_primaries) == (6, 1)
