from __future__ import annotations

import numpy as np
import pytest

from edgeseg.drawing.captions import draw_status
from edgeseg.drawing.legend import add_legend, draw_legend
from edgeseg.segmenter import Segmentation
from edgeseg.spec import ModelSpec


@pytest.mark.parametrize("channels", [3, 4])
def test_the_legend_is_a_strip_at_the_right(tiny_spec: ModelSpec, channels: int) -> None:
    class_map = np.ones((200, 100), np.uint8)
    class_map[:50] = 2
    image = np.full((200, 100, channels), 90, np.uint8)
    drawn = add_legend(image, Segmentation(class_map, tiny_spec))
    assert drawn.shape[0] == 200
    assert drawn.shape[1] > 100
    assert drawn.shape[2] == channels
    assert (drawn[:, :100] == image).all()
    strip = drawn[:, 100:]
    first_rows = {
        int(np.flatnonzero((strip[..., :3] == color).all(-1).any(1))[0]): color
        for color in ((200, 40, 0), (0, 80, 120))
    }
    assert [first_rows[row] for row in sorted(first_rows)] == [(200, 40, 0), (0, 80, 120)]  # the larger one first
    assert (strip[-1, -1] == 255).all()  # white, and opaque beside a cut-out


def test_the_legend_lists_what_occurs_and_is_shown(tiny_spec: ModelSpec) -> None:
    class_map = np.zeros((200, 100), np.uint8)
    class_map[:, 40:] = 1
    image = np.zeros((200, 100, 3), np.uint8)
    both = add_legend(image, Segmentation(class_map, tiny_spec))[:, 100:]
    one = add_legend(image, Segmentation(class_map, tiny_spec), classes=["background", "disc"])[:, 100:]
    assert (both == (200, 40, 0)).all(-1).any()
    assert not (both == (0, 80, 120)).all(-1).any()  # disc does not occur
    assert not (one == (200, 40, 0)).all(-1).any()
    none = add_legend(image, Segmentation(class_map, tiny_spec), classes=["disc"])
    assert (none[:, 100:] == 255).all()


@pytest.mark.parametrize("height", [1, 12, 30, 2000])
def test_the_legend_fits_any_height(tiny_spec: ModelSpec, height: int) -> None:
    class_map = np.tile(np.array([[0, 1, 2]], np.uint8), (height, 1))
    drawn = add_legend(np.zeros((height, 3, 3), np.uint8), Segmentation(class_map, tiny_spec))
    assert drawn.shape[0] == height


def test_a_white_class_is_seen_in_the_legend(tiny_spec: ModelSpec) -> None:
    white = tiny_spec.replace(palette=((0, 0, 0), (255, 255, 255), (0, 80, 120)))
    class_map = np.ones((64, 80), np.uint8)
    strip = add_legend(np.zeros((64, 80, 3), np.uint8), Segmentation(class_map, white))[:, 80:]
    assert (strip == 128).all(axis=-1).any()


def test_a_drawn_legend_leaves_the_frames_size_and_has_the_classes_colors(tiny_spec: ModelSpec) -> None:
    class_map = np.ones((20, 30), np.uint8)  # smaller than the frame, as the model's own map is
    class_map[:5] = 2
    for order in ("rgb", "bgr"):
        frame = np.full((400, 600, 3), 90, np.uint8)
        draw_legend(frame, class_map, tiny_spec, order=order)  # type: ignore[arg-type]
        assert frame.shape == (400, 600, 3)
        assert (frame[:, :300] == 90).all()  # it is at the right
        assert (frame[200:] == 90).all()  # and no higher than its lines
        for color in ((200, 40, 0), (0, 80, 120)):
            drawn = color if order == "rgb" else color[::-1]
            assert (frame[:200, 300:] == drawn).all(-1).any()


@pytest.mark.parametrize("size", [(1, 1), (12, 5), (30, 3000)])
def test_captions_fit_any_frame(tiny_spec: ModelSpec, size: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    draw_legend(frame, np.ones((4, 4), np.uint8), tiny_spec)
    draw_status(frame, ["30.1 fps", "inference 12.0 ms"])
    assert frame.shape == (*size, 3)
