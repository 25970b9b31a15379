from __future__ import annotations

import numpy as np

from edgeseg.drawing.captions import draw_status


def test_a_status_is_light_on_dark_at_the_top_left() -> None:
    frame = np.full((480, 640, 3), 200, np.uint8)
    draw_status(frame, ["30.1 fps"])
    assert frame[:30, :60].max() >= 250  # OpenCV 4.11 draws the letters a little grayer than 5
    assert (frame[:30, :60] == 50).any()  # the ground, a quarter of what it was
    assert (frame[100:] == 200).all()
    assert (frame[:, 400:] == 200).all()
