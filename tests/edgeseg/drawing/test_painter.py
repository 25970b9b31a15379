from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest

from edgeseg.choices import View
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import Painter, color_table, drawing_table, render
from edgeseg.errors import InputError
from edgeseg.imaging import enlarge
from edgeseg.scores.score_map import ScoreMap
from edgeseg.segmentation import Segmentation
from edgeseg.spec import ModelSpec

# The ids of tiny_spec: background (0, 0, 0), square (200, 40, 0), disc (0, 80, 120).
CLASS_MAP = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


@pytest.fixture
def image() -> np.ndarray:
    """``(2, 3, 3)`` uint8, one color everywhere."""
    return np.full((2, 3, 3), (100, 200, 40), np.uint8)


@pytest.fixture
def segmentation(tiny_spec: ModelSpec) -> Segmentation:
    return Segmentation(CLASS_MAP, tiny_spec)


def test_an_overlay_is_the_weighted_mean_and_leaves_the_background(image: np.ndarray, tiny_spec: ModelSpec) -> None:
    class_map = np.array([[0, 1], [0, 1], [0, 1]], np.uint8).repeat(4, axis=1)
    image = np.full((3, 8, 3), (100, 200, 40), np.uint8)
    square = drawing_table(tiny_spec)[1]
    drawn = render(image, Segmentation(class_map, tiny_spec), Look(alpha=0.25))
    assert (drawn[:, :4] == image[:, :4]).all()
    assert (drawn[:, 4] == np.round(0.75 * image[0, 0] + 0.25 * 255)).all()  # the contour, a line of white
    np.testing.assert_allclose(drawn[0, 5:], [0.75 * image[0, 0] + 0.25 * square] * 3, atol=0.5)  # rounding
    painted = render(image, Segmentation(class_map, tiny_spec), Look(alpha=0.25, paint_background=True))
    np.testing.assert_allclose(painted[0, 0], 0.75 * image[0, 0] + 0.25 * drawing_table(tiny_spec)[0], atol=0.5)
    assert (painted[:, 4:] == drawn[:, 4:]).all()


@pytest.mark.parametrize(("alpha", "shows_image"), [(0.0, True), (1.0, False)])
def test_alpha_goes_from_image_to_colors(
    image: np.ndarray, tiny_spec: ModelSpec, alpha: float, shows_image: bool
) -> None:
    drawn = render(image, Segmentation(np.ones((2, 3), np.uint8), tiny_spec), Look(alpha=alpha))
    assert (drawn == (image if shows_image else drawing_table(tiny_spec)[1])).all()


def test_a_filtered_overlay_leaves_the_rest_as_it_was(image: np.ndarray, segmentation: Segmentation) -> None:
    for look in (Look(classes=["disc"]), Look(except_classes=["square"])):
        drawn = render(image, segmentation, look)
        assert (drawn[0, :2] == image[0, :2]).all()
        assert (drawn[0, 2] != image[0, 2]).any()


def test_a_mask_is_the_colors_alone(image: np.ndarray, segmentation: Segmentation) -> None:
    assert render(image, segmentation, Look(view="mask"))[0].tolist() == [[0, 0, 0], [200, 40, 0], [0, 80, 120]]
    filtered = render(image, segmentation, Look(view="mask", classes=("square",)))
    assert filtered.dtype == np.uint8
    assert filtered[0].tolist() == [[0, 0, 0], [200, 40, 0], [0, 0, 0]]


def test_a_cutout_keeps_the_image_and_hides_the_background(image: np.ndarray, segmentation: Segmentation) -> None:
    drawn = render(image, segmentation, Look(view="cutout"))
    assert (drawn.shape, drawn.dtype) == ((2, 3, 4), np.uint8)
    assert (drawn[..., :3] == image).all()
    assert drawn[..., 3].tolist() == [[0, 255, 255], [255, 255, 0]]


def test_a_cutout_of_chosen_classes(image: np.ndarray, segmentation: Segmentation) -> None:
    drawn = render(image, segmentation, Look(view="cutout", classes=["background", "disc"]))
    assert drawn[..., 3].tolist() == [[255, 0, 255], [255, 0, 255]]


def test_nothing_that_was_given_is_changed(image: np.ndarray, segmentation: Segmentation) -> None:
    before = image.copy()
    for view in get_args(View):
        render(image, segmentation, Look(view=view))
    assert (image == before).all()
    assert (segmentation.class_map == CLASS_MAP).all()


def test_a_class_map_that_is_a_view_draws_the_same(tiny_spec: ModelSpec) -> None:
    wide = np.zeros((2, 6), np.uint8)
    wide[:, 3:] = CLASS_MAP
    image = np.full((2, 3, 3), 80, np.uint8)
    for view in get_args(View):
        cut = render(image, Segmentation(wide[:, 3:], tiny_spec), Look(view=view))
        assert (cut == render(image, Segmentation(CLASS_MAP, tiny_spec), Look(view=view))).all()


def test_the_tables_cover_ids_that_are_no_class(tiny_spec: ModelSpec) -> None:
    table = color_table(tiny_spec)
    assert (table.shape, table.dtype) == ((256, 3), np.uint8)
    assert table[:3].tolist() == [[0, 0, 0], [200, 40, 0], [0, 80, 120]]
    assert not table[3:].any()
    drawn = drawing_table(tiny_spec)
    assert not drawn[3:].any()
    assert len(np.unique(drawn[:3], axis=0)) == 3


def test_the_rest_is_replaced_by_a_color(image: np.ndarray, segmentation: Segmentation) -> None:
    drawn = render(image, segmentation, Look(view="replace", background=(1, 2, 3)))
    assert drawn.tolist() == [
        [[1, 2, 3], [100, 200, 40], [100, 200, 40]],
        [[100, 200, 40], [100, 200, 40], [1, 2, 3]],
    ]


def test_a_background_image_covers_the_frame_and_keeps_its_shape(tiny_spec: ModelSpec) -> None:
    # 40x40, a red left and a blue right half; a frame twice as wide as high shows the middle rows of it.
    behind = np.zeros((40, 40, 3), np.uint8)
    behind[:, :20, 0] = 255
    behind[:, 20:, 2] = 255
    behind[:10] = behind[30:] = 77
    image = np.full((20, 40, 3), 9, np.uint8)
    drawn = render(
        image, Segmentation(np.zeros((20, 40), np.uint8), tiny_spec), Look(view="replace", background=behind)
    )
    assert (drawn[:, :20] == (255, 0, 0)).all()
    assert (drawn[:, 20:] == (0, 0, 255)).all()


def test_the_rest_is_blurred_and_the_chosen_stays_sharp(tiny_spec: ModelSpec) -> None:
    image = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    class_map = np.zeros((160, 160), np.uint8)
    class_map[:, 80:] = 1
    drawn = render(image, Segmentation(class_map, tiny_spec), Look(view="blur"))
    assert (drawn[:, 80:] == image[:, 80:]).all()
    # White noise has a deviation of 74; the mean over the 64 pixels of an eighth's size alone leaves an eighth of it.
    assert drawn[:, :80].std() < 15
    assert abs(float(drawn[:, :80].mean()) - float(image[:, :80].mean())) < 3  # a blur keeps the brightness


def test_a_painter_draws_into_the_frame_and_follows_its_color_order(
    image: np.ndarray, segmentation: Segmentation, tiny_spec: ModelSpec
) -> None:
    for view in get_args(View):
        look = Look(view=view, classes=["disc"], background=(5, 6, 7), anonymize=["disc"])
        expected = render(image, segmentation, look)
        if view == "cutout":
            expected = expected[..., :3] * (expected[..., 3:] // 255)
        paint = Painter(tiny_spec, look, order="bgr")
        for _ in range(2):  # the buffers of the first frame don't show in the second
            frame = np.ascontiguousarray(image[..., ::-1])
            assert paint(frame, CLASS_MAP) is frame
            assert (frame[..., ::-1] == expected).all(), view


def test_a_painter_follows_a_change_of_size(tiny_spec: ModelSpec) -> None:
    paint = Painter(tiny_spec, Look(view="replace", background=(5, 6, 7)))
    for size in ((4, 6), (8, 6), (4, 6)):
        frame = np.zeros((*size, 3), np.uint8)
        assert (paint(frame, np.zeros(size, np.uint8)) == (5, 6, 7)).all()
        ids = cv2.resize(np.eye(2, dtype=np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        frame = np.zeros((*size, 3), np.uint8)
        assert ((paint(frame, ids) == (5, 6, 7)).all(-1) == (ids == 0)).all()


def test_a_small_map_draws_what_the_enlarged_one_does(tiny_spec: ModelSpec) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 3, (17, 23), np.uint8)
    image = rng.integers(0, 256, (50, 71, 3), np.uint8)
    large = enlarge(small, np.empty((50, 71), np.uint8))
    for view in get_args(View):
        for classes in (["disc"], ["background", "square", "disc"]):
            paint = Painter(tiny_spec, Look(view=view, classes=classes, background=(5, 6, 7)))
            assert (paint(image.copy(), small) == paint(image.copy(), large)).all(), view


@pytest.mark.parametrize("view", ["overlay", "cutout", "blur", "replace"])
def test_what_is_anonymized_is_in_no_view(tiny_spec: ModelSpec, view: View) -> None:
    """Two images that differ in the anonymized class alone, by details of the same mean, are drawn alike."""
    stripes = np.tile(np.array([[0, 200]], np.uint8), (256, 128))
    images = [np.dstack([pixels] * 3) for pixels in (stripes, 200 - stripes)]
    segmentation = Segmentation(np.full((256, 256), 2, np.uint8), tiny_spec)
    clear, hidden = (
        [render(image, segmentation, Look(view=view, classes=["disc"], anonymize=names)) for image in images]
        for names in (None, ["disc"])
    )
    assert (clear[0] != clear[1]).any()
    assert (hidden[0] == hidden[1]).all()


def test_an_unknown_class_to_anonymize_is_refused(tiny_spec: ModelSpec) -> None:
    with pytest.raises(InputError, match="unknown class 'dog'"):
        Painter(tiny_spec, Look(anonymize=["dog"]))


def soft(spec: ModelSpec, size_hw: tuple[int, int]) -> Segmentation:
    """``square`` in the right half of an image, with a share that rises over a quarter of the width."""
    share = np.clip((np.arange(24, dtype=np.float32) - 8.5) / 6, 0, 1)[None].repeat(16, axis=0)
    scores = ScoreMap(np.dstack([1 - share, share, np.zeros_like(share)]), "softmax", size_hw)
    return Segmentation(scores.class_map(), spec.replace(output_kind="softmax"), scores)


def test_edges_are_soft_where_scores_are_given(tiny_spec: ModelSpec) -> None:
    """In blur and replace by default, in a cut-out where it is asked for; the middle of each half is as without."""
    segmentation = soft(tiny_spec, (60, 96))
    image = np.full((60, 96, 3), 120, np.uint8)  # nothing in it says where the edge is
    middles = np.r_[0:24, 72:96]
    for view, matte, expected in (
        ("blur", None, True),
        ("replace", None, True),
        ("cutout", None, False),
        ("replace", False, False),
        ("cutout", True, True),
        ("overlay", True, False),
    ):
        look = Look(view=view, matte=matte, background=(20, 220, 70), classes=["square"])
        drawn, hard = (
            render(image, segmentation, look),
            render(image, Segmentation(segmentation.class_map, segmentation.spec), look),
        )
        assert (drawn[:, middles] == hard[:, middles]).all(), view
        if view != "blur":  # a plain image is as plain when it is blurred
            assert (drawn != hard).any() == expected, view
            assert (len(np.unique(drawn[30, :, -1])) > 5) == expected, view
        paint = Painter(segmentation.spec, look)
        assert segmentation.score_map is not None
        share = segmentation.score_map.share(paint.shown) if paint.soft else None
        painted = paint(image.copy(), segmentation.class_map, share)
        if view == "cutout":
            opacity = drawn[..., 3:] / 255
            np.testing.assert_allclose(painted, drawn[..., :3] * opacity, atol=1.001)  # rounded to gray levels
        else:
            assert (painted == drawn).all(), view


def test_soft_edges_without_scores_are_refused(tiny_spec: ModelSpec) -> None:
    ids = tiny_spec.replace(output_kind="argmax")
    with pytest.raises(InputError, match=r"`matte` needs scores, .* `output_kind='softmax'`"):
        Painter(ids, Look(view="blur", matte=True))
    assert Painter(ids, Look(view="blur")).soft  # draws hard edges without a word where nobody asked


def test_the_edge_of_what_is_anonymized_is_not_that_of_its_blocks(tiny_spec: ModelSpec) -> None:
    """The matte is found in the image as it came."""
    segmentation = soft(tiny_spec, (60, 96))
    image = np.random.default_rng(0).integers(0, 256, (60, 96, 3), np.uint8)
    looks = [Look(view="cutout", matte=True, classes=["square"], anonymize=names) for names in (None, ["square"])]
    clear, hidden = (render(image, segmentation, look) for look in looks)
    assert (clear[..., 3] == hidden[..., 3]).all()
    assert (clear[..., :3] != hidden[..., :3]).any()
