from __future__ import annotations

import numpy as np
import pytest

from edgeseg.drawing.captions import cut_text, draw_status, text_width


def test_a_status_is_light_on_dark_at_the_top_left() -> None:
    frame = np.full((480, 640, 3), 200, np.uint8)
    size = draw_status(frame, ["30.1 fps"])
    assert frame[:30, :60].max() >= 250  # OpenCV 4.11 draws the letters a little grayer than 5
    assert (frame[:30, :60] == 50).any()  # the ground, a quarter of what it was
    assert (frame[100:] == 200).all()
    assert (frame[:, 400:] == 200).all()
    ground = (frame != 200).any(-1)
    assert ground[: size[0], : size[1]].mean() > 0.99  # the gray side of a letter may be the 200 of the frame
    assert not ground[size[0] :].any()
    assert not ground[:, size[1] :].any()


def test_no_lines_are_no_panel() -> None:
    frame = np.full((480, 640, 3), 200, np.uint8)
    assert draw_status(frame, []) == (0, 0)
    assert (frame == 200).all()


@pytest.mark.parametrize("size", [(1, 1), (12, 5), (30, 3000)])
def test_a_status_fits_any_frame(size: tuple[int, int]) -> None:
    draw_status(np.zeros((*size, 3), np.uint8), ["30.1 fps", "inference 12.0 ms"])


@pytest.mark.parametrize("width", [0, 40, 80, 150, 400])
def test_a_text_is_cut_to_a_width_with_an_ellipsis(width: int) -> None:
    name = "television receiver, television set"
    cut = cut_text(name, 0.6, width)
    assert text_width(cut, 0.6) <= width
    assert cut == name or not cut or (cut.endswith("...") and name.startswith(cut[:-3]))
    assert bool(cut) == (width > 0)
    assert cut_text("sky", 0.6, 100) == "sky"
