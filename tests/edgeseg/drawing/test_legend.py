from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgeseg.choices import ColorOrder
from edgeseg.drawing.captions import draw_status
from edgeseg.drawing.legend import LiveLegend, add_legend
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import Painter, drawing_table
from edgeseg.segmenter import Segmentation
from edgeseg.spec import ModelSpec, default_palette

MASK = Look(view="mask")


@pytest.mark.parametrize("channels", [3, 4])
def test_the_legend_is_a_strip_at_the_right(tiny_spec: ModelSpec, channels: int) -> None:
    class_map = np.ones((200, 100), np.uint8)
    class_map[:50] = 2
    image = np.full((200, 100, channels), 90, np.uint8)
    drawn = add_legend(image, Segmentation(class_map, tiny_spec), MASK)
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
    both = add_legend(image, Segmentation(class_map, tiny_spec), MASK)[:, 100:]
    one = add_legend(image, Segmentation(class_map, tiny_spec), Look(view="mask", classes=["background", "disc"]))[
        :, 100:
    ]
    assert (both == (200, 40, 0)).all(-1).any()
    assert not (both == (0, 80, 120)).all(-1).any()  # disc does not occur
    assert not (one == (200, 40, 0)).all(-1).any()
    none = add_legend(image, Segmentation(class_map, tiny_spec), Look(classes=["disc"]))
    assert (none[:, 100:] == 255).all()


@pytest.mark.parametrize("height", [1, 12, 30, 2000])
def test_the_legend_fits_any_height(tiny_spec: ModelSpec, height: int) -> None:
    class_map = np.tile(np.array([[0, 1, 2]], np.uint8), (height, 1))
    drawn = add_legend(np.zeros((height, 3, 3), np.uint8), Segmentation(class_map, tiny_spec), MASK)
    assert drawn.shape[0] == height


def test_a_white_class_is_seen_in_the_legend(tiny_spec: ModelSpec) -> None:
    white = tiny_spec.replace(palette=((0, 0, 0), (255, 255, 255), (0, 80, 120)))
    class_map = np.ones((64, 80), np.uint8)
    strip = add_legend(np.zeros((64, 80, 3), np.uint8), Segmentation(class_map, white), MASK)[:, 80:]
    assert (strip == 128).all(axis=-1).any()


def test_the_legend_has_the_colors_of_the_view_and_no_background_that_is_not_painted(tiny_spec: ModelSpec) -> None:
    class_map = np.zeros((200, 100), np.uint8)
    class_map[:, 40:] = 1
    image = np.zeros((200, 100, 3), np.uint8)
    gray, square, _ = drawing_table(tiny_spec)[:3]
    strip = add_legend(image, Segmentation(class_map, tiny_spec))[:, 100:]
    assert (strip == square).all(-1).any()
    assert not (strip == gray).all(-1).any()
    strip = add_legend(image, Segmentation(class_map, tiny_spec), Look(paint_background=True))[:, 100:]
    assert (strip == gray).all(-1).any()


def test_a_long_name_does_not_widen_the_image_by_more_than_half(tiny_spec: ModelSpec) -> None:
    spec = tiny_spec.replace(class_names=("a" * 300, "b" * 300, "c" * 300))
    drawn = add_legend(np.zeros((480, 640, 3), np.uint8), Segmentation(np.ones((480, 640), np.uint8), spec))
    assert drawn.shape == (480, 960, 3)


def _spec(count: int, letters: int) -> ModelSpec:
    names = tuple(f"{index:03d}" + "n" * (letters - 3) for index in range(count))
    return ModelSpec(name="many", input_size=(32, 48), class_names=names, palette=default_palette(count))


def _live(spec: ModelSpec, look: Look | None = None, order: ColorOrder = "rgb") -> LiveLegend:
    return LiveLegend(spec, Painter(spec, look, order=order), order=order)


def _changed(frame: np.ndarray, ground: int) -> tuple[slice, slice] | None:
    """The box that was drawn into a frame of one gray."""
    rows, columns = ((frame != ground).any(-1).any(axis) for axis in (1, 0))
    if not rows.any():
        return None
    (top, bottom), (left, right) = (np.flatnonzero(one)[[0, -1]] for one in (rows, columns))
    return slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_live_legend_is_at_the_top_right_in_the_order_of_the_ids(tiny_spec: ModelSpec, order: ColorOrder) -> None:
    class_map = np.ones((20, 30), np.uint8)  # smaller than the frame, as the model's own map is
    class_map[:15] = 2
    frame = np.full((400, 600, 3), 90, np.uint8)
    _live(tiny_spec, order=order).draw(frame, class_map)
    box = _changed(frame, 90)
    assert box is not None
    assert (box[0].start, box[1].stop) == (0, 600)
    drawn = frame if order == "rgb" else frame[..., ::-1]
    square, disc = (np.flatnonzero((drawn == color).all(-1).any(1)) for color in drawing_table(tiny_spec)[1:3])
    assert square[-1] < disc[0]


@pytest.mark.parametrize("size", [(1, 1), (12, 5), (30, 3000), (272, 640), (480, 640), (640, 200), (1080, 1920)])
@pytest.mark.parametrize(("count", "letters"), [(1, 3), (11, 10), (150, 26)])
def test_the_live_legend_keeps_to_a_fifth_and_off_the_status(size: tuple[int, int], count: int, letters: int) -> None:
    class_map = np.arange(48 * 50, dtype=np.int64).reshape(48, 50) % count
    frame = np.full((*size, 3), 90, np.uint8)
    status = draw_status(frame, ["30.1 fps", "inference 12.0 ms", "age 30 ms", "dropped 0"])
    frame[:] = 90
    _live(_spec(count, letters)).draw(frame, class_map.astype(np.uint8), keep_off=status)
    box = _changed(frame, 90)
    if size in ((272, 640), (480, 640), (1080, 1920)):
        assert box is not None
    if box is not None:
        assert (box[0].stop - box[0].start) * (box[1].stop - box[1].start) <= size[0] * size[1] / 5
        assert box[0].start >= status[0] or box[1].start >= status[1]


def test_the_live_legend_lists_a_class_from_half_a_percent_and_does_not_flicker(tiny_spec: ModelSpec) -> None:
    color = drawing_table(tiny_spec)[2]
    legend = _live(tiny_spec)

    def lists_disc(share: float) -> bool:
        class_map = np.ones((100, 100), np.uint8)
        blocks = np.zeros(2500, bool)
        blocks[: round(2500 * share)] = True
        class_map[blocks.reshape(50, 50).repeat(2, 0).repeat(2, 1)] = 2  # in blocks of 2x2, as pixels are sampled
        frame = np.full((400, 600, 3), 90, np.uint8)
        legend.draw(frame, class_map)
        return bool((frame == color).all(-1).any())

    assert not lists_disc(0.004)
    assert not lists_disc(0.010)  # for one frame
    assert [lists_disc(0.010) for _ in range(20)][-1]
    assert all(lists_disc(share) for _ in range(30) for share in (0.003, 0.006))  # around the half percent
    assert lists_disc(0.0)  # gone for one frame
    assert not [lists_disc(0.0) for _ in range(30)][-1]


def test_a_figure_of_the_live_legend_does_not_flicker(tiny_spec: ModelSpec) -> None:
    legend = _live(tiny_spec)
    frames = []
    for index in range(40):
        class_map = np.ones((100, 100), np.uint8)
        class_map[: 24 + index % 4] = 2  # around 25.5 %
        frames.append(np.full((400, 600, 3), 90, np.uint8))
        legend.draw(frames[-1], class_map)
    changes = sum((a != b).any() for a, b in itertools.pairwise(frames))
    assert changes <= 2  # from the 24 % of the first frame to about 25.5 %, and then none


def test_a_new_size_of_frame_is_followed(tiny_spec: ModelSpec) -> None:
    legend = _live(tiny_spec)
    class_map = np.ones((4, 4), np.uint8)
    for size in ((400, 600), (800, 900), (400, 600)):
        drawn, expected = (np.full((*size, 3), 90, np.uint8) for _ in range(2))
        legend.draw(drawn, class_map)
        _live(tiny_spec).draw(expected, class_map)
        assert (drawn == expected).all()
