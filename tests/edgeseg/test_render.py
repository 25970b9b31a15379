from __future__ import annotations

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.render import add_legend, class_filter, colour_table, render
from edgeseg.segmenter import Segmentation
from edgeseg.spec import ModelSpec

# The ids of tiny_spec: background (0, 0, 0), square (200, 40, 0), disc (0, 80, 120).
CLASS_MAP = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


@pytest.fixture
def image() -> np.ndarray:
    """``(2, 3, 3)`` uint8, one colour everywhere."""
    return np.full((2, 3, 3), (100, 200, 40), np.uint8)


@pytest.fixture
def segmentation(tiny_spec: ModelSpec) -> Segmentation:
    return Segmentation(CLASS_MAP, tiny_spec)


def test_an_overlay_is_the_weighted_mean(image: np.ndarray, segmentation: Segmentation) -> None:
    drawn = render("overlay", image, segmentation, alpha=0.25)
    assert (drawn.shape, drawn.dtype) == ((2, 3, 3), np.uint8)
    # 0.75 * picture + 0.25 * colour; the values are chosen so that none needs rounding.
    assert drawn[0].tolist() == [[75, 150, 30], [125, 160, 30], [75, 170, 60]]
    assert drawn[1].tolist() == drawn[0, ::-1].tolist()


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, (100, 200, 40)), (1.0, (200, 40, 0))])
def test_alpha_goes_from_picture_to_colours(
    image: np.ndarray, segmentation: Segmentation, alpha: float, expected: tuple[int, int, int]
) -> None:
    assert render("overlay", image, segmentation, alpha=alpha)[0, 1].tolist() == list(expected)


def test_a_filtered_overlay_leaves_the_rest_as_it_was(image: np.ndarray, segmentation: Segmentation) -> None:
    drawn = render("overlay", image, segmentation, alpha=0.25, classes=["disc"])
    assert drawn[0].tolist() == [[100, 200, 40], [100, 200, 40], [75, 170, 60]]


def test_a_mask_is_the_colours_alone(image: np.ndarray, segmentation: Segmentation) -> None:
    assert render("mask", image, segmentation)[0].tolist() == [[0, 0, 0], [200, 40, 0], [0, 80, 120]]
    filtered = render("mask", image, segmentation, classes=("square",))
    assert filtered.dtype == np.uint8
    assert filtered[0].tolist() == [[0, 0, 0], [200, 40, 0], [0, 0, 0]]


def test_a_cutout_keeps_the_picture_and_hides_the_background(image: np.ndarray, segmentation: Segmentation) -> None:
    drawn = render("cutout", image, segmentation)
    assert (drawn.shape, drawn.dtype) == ((2, 3, 4), np.uint8)
    assert (drawn[..., :3] == image).all()
    assert drawn[..., 3].tolist() == [[0, 255, 255], [255, 255, 0]]


def test_a_cutout_of_chosen_classes(image: np.ndarray, segmentation: Segmentation) -> None:
    drawn = render("cutout", image, segmentation, classes=["background", "disc"])
    assert drawn[..., 3].tolist() == [[255, 0, 255], [255, 0, 255]]


def test_a_cutout_without_background_needs_classes(image: np.ndarray, tiny_spec: ModelSpec) -> None:
    spec = tiny_spec.replace(class_names=("sky", "road", "car"))
    with pytest.raises(InputError, match=r"cut-out needs --classes.*sky, road, car"):
        render("cutout", image, Segmentation(CLASS_MAP, spec))
    drawn = render("cutout", image, Segmentation(CLASS_MAP, spec), classes=["road"])
    assert drawn[..., 3].tolist() == [[0, 255, 0], [0, 255, 0]]


@pytest.mark.parametrize("view", ["overlay", "mask", "cutout"])
def test_an_unknown_class_is_named_in_every_view(image: np.ndarray, segmentation: Segmentation, view: str) -> None:
    with pytest.raises(InputError, match="unknown class 'dog'; the model has: background, square, disc"):
        render(view, image, segmentation, classes=["disc", "dog"])


def test_nothing_that_was_given_is_changed(image: np.ndarray, segmentation: Segmentation) -> None:
    before = image.copy()
    for view in ("overlay", "mask", "cutout"):
        add_legend(render(view, image, segmentation), segmentation)
    assert (image == before).all()
    assert (segmentation.class_map == CLASS_MAP).all()


def test_a_class_map_that_is_a_view_draws_the_same(tiny_spec: ModelSpec) -> None:
    wide = np.zeros((2, 6), np.uint8)
    wide[:, 3:] = CLASS_MAP
    image = np.full((2, 3, 3), 80, np.uint8)
    for view in ("overlay", "mask", "cutout"):
        cut = render(view, image, Segmentation(wide[:, 3:], tiny_spec))
        assert (cut == render(view, image, Segmentation(CLASS_MAP, tiny_spec))).all()


def test_the_tables_cover_ids_that_are_no_class(tiny_spec: ModelSpec) -> None:
    table = colour_table(tiny_spec)
    assert (table.shape, table.dtype) == ((256, 3), np.uint8)
    assert table[:3].tolist() == [[0, 0, 0], [200, 40, 0], [0, 80, 120]]
    assert not table[3:].any()
    assert class_filter(tiny_spec, None).all()
    assert np.flatnonzero(class_filter(tiny_spec, ["disc", "background"])).tolist() == [0, 2]


@pytest.mark.parametrize("channels", [3, 4])
def test_the_legend_is_a_strip_at_the_right(tiny_spec: ModelSpec, channels: int) -> None:
    class_map = np.ones((200, 100), np.uint8)
    class_map[:50] = 2
    picture = np.full((200, 100, channels), 90, np.uint8)
    drawn = add_legend(picture, Segmentation(class_map, tiny_spec))
    assert drawn.shape[0] == 200
    assert drawn.shape[1] > 100
    assert drawn.shape[2] == channels
    assert (drawn[:, :100] == picture).all()
    strip = drawn[:, 100:]
    first_rows = {
        int(np.flatnonzero((strip[..., :3] == colour).all(-1).any(1))[0]): colour
        for colour in ((200, 40, 0), (0, 80, 120))
    }
    assert [first_rows[row] for row in sorted(first_rows)] == [(200, 40, 0), (0, 80, 120)]  # the larger one first
    assert (strip[-1, -1] == 255).all()  # white, and opaque beside a cut-out


def test_the_legend_lists_what_occurs_and_is_shown(tiny_spec: ModelSpec) -> None:
    class_map = np.zeros((200, 100), np.uint8)
    class_map[:, 40:] = 1
    picture = np.zeros((200, 100, 3), np.uint8)
    both = add_legend(picture, Segmentation(class_map, tiny_spec))[:, 100:]
    one = add_legend(picture, Segmentation(class_map, tiny_spec), classes=["background", "disc"])[:, 100:]
    assert (both == (200, 40, 0)).all(-1).any()
    assert not (both == (0, 80, 120)).all(-1).any()  # disc does not occur
    assert not (one == (200, 40, 0)).all(-1).any()
    none = add_legend(picture, Segmentation(class_map, tiny_spec), classes=["disc"])
    assert (none[:, 100:] == 255).all()


@pytest.mark.parametrize("height", [1, 12, 30, 2000])
def test_the_legend_fits_any_height(tiny_spec: ModelSpec, height: int) -> None:
    class_map = np.tile(np.array([[0, 1, 2]], np.uint8), (height, 1))
    drawn = add_legend(np.zeros((height, 3, 3), np.uint8), Segmentation(class_map, tiny_spec))
    assert drawn.shape[0] == height
