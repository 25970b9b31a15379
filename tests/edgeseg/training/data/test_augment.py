from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeseg.errors import InputError
from edgeseg.training.data.augment import IGNORED, Augmentation

# Colors far apart in hue and full in saturation, so that the color jitter does not mistake one for another.
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.int64)
PAD = (128, 128, 128)
BICUBIC = Image.Resampling.BICUBIC


def pair(height: int = 60, width: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """An image whose color is the id: four unlike quarters, with a mark that breaks every symmetry."""
    label = np.zeros((height, width), np.uint8)
    label[: height // 2, width // 3 :] = 1
    label[height // 2 :, : width // 4] = 2
    label[height // 2 + 5 :, width // 2 :] = 3
    return COLORS[label].astype(np.uint8), label


def ids_of(image: np.ndarray) -> np.ndarray:
    """The ids that the colors say: the nearest of the four, ``IGNORED`` where it is nearest to the padding."""
    known = np.vstack([COLORS, [PAD]])
    distance = np.abs(image[:, :, None].astype(np.int64) - known).sum(-1)
    return np.array([0, 1, 2, 3, IGNORED], np.uint8)[distance.argmin(-1)]


def draws(augmentation: Augmentation, count: int = 40, **size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(count):
        yield augmentation(*pair(**size), np.random.default_rng(seed))


@pytest.mark.parametrize("crop_size", [(60, 90), (24, 36), (100, 150), (100, 40)])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_image_and_label_keep_the_same_geometry(crop_size: tuple[int, int], scale: tuple[float, float]) -> None:
    augmentation = Augmentation(size=crop_size, scale=scale, hsv=(0.0, 0.0, 0.0), pad_value=PAD)
    for image, label in draws(augmentation):
        assert image.shape == (*crop_size, 3)
        assert label.shape == crop_size
        assert (image.dtype, label.dtype) == (np.uint8, np.uint8)
        wrong = ids_of(image) != label
        # A blend of two colors may be nearest to a third, but only within two pixels of an edge, which may itself lie
        # outside the crop.
        edge = np.ones(crop_size, bool)
        edge[2:-2, 2:-2] = False
        for axis in (0, 1):
            for shift in range(-2, 3):
                edge |= np.roll(label, shift, axis) != label
        assert not (wrong & ~edge).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": (0.4, 1.0)},
        {"scale": (1.0, 2.5)},
        {"scale": (0.7, 1.4), "aspect": 0.3},
        {"scale": (0.7, 1.4), "rotate": 1.0, "rotate_degrees": 40.0},
        {"scale": (0.7, 1.4), "rotate": 1.0, "rotate_degrees": 40.0, "elastic": 10.0},
        {"scale": (0.7, 1.4), "blur": 1.0, "flip_vertical": 0.5},
    ],
)
def test_image_and_label_are_not_shifted_against_each_other(changes: dict[str, Any]) -> None:
    """The center of a white square, by the gray values and by the ids."""
    label = np.zeros((60, 90), np.uint8)
    label[15:41, 20:57] = 1
    image = np.repeat(label[..., None] * 255, 3, axis=-1)
    augmentation = Augmentation(size=(160, 240), hsv=(0.0, 0.0, 0.0), pad_value=(0, 0, 0), **changes)
    differences = []
    for seed in range(60):
        gray, ids = augmentation(image, label, np.random.default_rng(seed))
        centers = []
        for mass in (gray[..., 0] / 255, ids == 1):
            rows, columns = np.indices(mass.shape)
            centers.append([(rows * mass).sum() / mass.sum(), (columns * mass).sum() / mass.sum()])
        differences.append(np.subtract(*centers))
    # An id takes a whole pixel or none, which moves each of two edges by half a pixel at most; on average by nothing.
    # OpenCV's plain nearest neighbor, which rounds down, would be off by a quarter to three quarters of a pixel.
    # A rotation samples what was sampled once, which doubles the bound, but its edges cross the pixels, so that most of
    # it evens out.
    assert np.abs(differences).max() < (0.75 if "rotate" in changes else 0.51)
    assert np.abs(np.mean(differences, axis=0)).max() < 0.1


@pytest.mark.parametrize("preset", ["unet", "crop"])
def test_images_are_scaled_as_the_model_will_see_them(preset: Any) -> None:
    """As the tutorials scale whole images by Pillow and lay them on gray, or cut them, without the colors."""
    rng = np.random.default_rng(0)
    photo, label = rng.integers(0, 256, (61, 90, 3), np.uint8), rng.integers(0, 4, (61, 90), np.uint8)
    augmentation = Augmentation.preset(
        preset, (40, 56), flip=0.0, hsv=(0.0, 0.0, 0.0), scale=(0.4, 1.7), resize="bicubic-antialias"
    )
    for seed in range(20):
        image, ids = augmentation(photo, label, np.random.default_rng(seed))
        placement = augmentation.draw(label.shape, np.random.default_rng(seed)).placement
        (height, width), (top, left) = placement.scaled, placement.start
        # Columns, then rows: Pillow 13 begins with the rows of some images, those before it never.
        scaled = Image.fromarray(photo).resize((width, 61), BICUBIC).resize((width, height), BICUBIC)
        expected, expected_ids = Image.new("RGB", (56, 40), PAD), Image.new("L", (56, 40), IGNORED)
        expected.paste(scaled, (-left, -top))
        expected_ids.paste(Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST), (-left, -top))
        # A value halfway between two gray levels may become the other one.
        assert np.abs(image.astype(int) - np.asarray(expected)).max() <= 1
        assert (ids == np.asarray(expected_ids)).all()


def test_a_typed_bilinear_is_bilinear_and_the_default_averages() -> None:
    stripes, label = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    stripes[:, ::4] = 240  # which bilinear does not see at a quarter of the size
    grays = {}
    for resize in (None, "bilinear", "area", "bicubic-antialias", "bilinear-antialias"):
        augmentation = Augmentation(size=(16, 16), scale=(0.25, 0.25), hsv=(0.0, 0.0, 0.0), resize=resize)
        grays[resize] = augmentation(stripes, label, np.random.default_rng(0))[0][4:-4, 4:-4].mean()
    assert grays.pop("bilinear") == 0
    assert list(grays.values()) == pytest.approx([60] * 4, abs=1)


def test_without_scaling_every_pixel_agrees() -> None:
    augmentation = Augmentation(size=(40, 50), scale=(1.0, 1.0), hsv=(0.0, 0.0, 0.0))
    for image, label in draws(augmentation):
        assert (ids_of(image) == label).all()


def test_a_strong_color_jitter_moves_no_pixel() -> None:
    augmentation = Augmentation(size=(60, 90), scale=(1.0, 1.0), hsv=(0.05, 0.2, 0.2))
    seen = set()
    for image, label in draws(augmentation):
        assert (ids_of(image) == label).all()
        seen.add(image.tobytes())
    assert len(seen) > 30  # few colors, so that two draws may round to the same


def test_without_jitter_the_colors_stay() -> None:
    """Through HSV and back, which rounds hue to 2 degrees: full colors come back as they were."""
    augmentation = Augmentation(size=(60, 90), scale=(1.0, 1.0), flip=0.0, hsv=(0.0, 0.0, 0.0))
    for image, label in draws(augmentation, 3):
        assert (image == pair()[0]).all()
        assert (label == pair()[1]).all()


def test_the_flip_has_its_probability() -> None:
    def flipped(probability: float) -> int:
        augmentation = Augmentation(size=(60, 90), scale=(1.0, 1.0), flip=probability)
        mirrored = pair()[1][:, ::-1]
        return sum((label == mirrored).all() for _, label in draws(augmentation, 100))

    assert flipped(0.0) == 0
    assert flipped(1.0) == 100
    assert 30 < flipped(0.5) < 70  # 4 standard deviations around 50


def test_what_is_added_is_ignored_and_has_the_pad_color() -> None:
    augmentation = Augmentation(size=(100, 150), scale=(0.5, 1.0), flip=0.0, hsv=(0.0, 0.0, 0.0), pad_value=(9, 9, 9))
    corners = set()
    for image, label in draws(augmentation):
        added = label == IGNORED
        rows, columns = (np.flatnonzero((~added).any(axis)) for axis in (1, 0))
        height, width = len(rows), len(columns)
        assert 30 <= height <= 60
        assert width / height == pytest.approx(1.5, abs=0.05)
        assert (~added[np.ix_(rows, columns)]).all()
        assert added.sum() == 100 * 150 - height * width
        assert (image[added] == 9).all()
        corners.add((rows[0], columns[0]))
    assert len(corners) > 30  # it lies anywhere


def test_ids_are_never_invented() -> None:
    """Blending ids 0 and 7 would give 1 to 6; ids on a fine grid, where any blend would show."""
    label = np.where(np.indices((60, 90)).sum(0) % 3 == 0, 7, 0).astype(np.uint8)
    label[20:30] = IGNORED
    image = np.zeros((60, 90, 3), np.uint8)
    found: set[int] = set()
    for seed in range(60):
        for augmentation in (Augmentation(size=(48, 64), scale=(0.3, 3.0)), Augmentation.preset("jitter", (48, 64))):
            _, ids = augmentation(image, label, np.random.default_rng(seed))
            found |= set(np.unique(ids).tolist())
    assert found == {0, 7, IGNORED}


def test_the_generator_decides_everything() -> None:
    augmentation = Augmentation(size=(48, 64))
    first, again, other = (augmentation(*pair(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    for a, b, c in zip(first, again, other, strict=True):
        assert (a == b).all()
        assert (a != c).any()


def test_what_was_given_is_not_changed_nor_shared() -> None:
    image, label = pair()
    was = image.copy(), label.copy()
    # As a cache lends them.
    image.flags.writeable = label.flags.writeable = False
    augmented = Augmentation(size=(60, 90), scale=(1.0, 1.0), flip=0.0)(image, label, np.random.default_rng(0))
    for array in augmented:
        assert array.flags.c_contiguous
        array[:] = 0
    assert (image == was[0]).all()
    assert (label == was[1]).all()


@pytest.mark.parametrize("size", [{"height": 1, "width": 1}, {"height": 2, "width": 300}, {"height": 300, "width": 2}])
def test_any_size_of_image_gives_the_crop(size: Any) -> None:
    everything = {
        "aspect": 0.9,
        "rotate": 0.5,
        "rotate_degrees": 180.0,
        "elastic": 20.0,
        "blur": 0.5,
        "brightness": 0.5,
        "contrast": 0.5,
    }
    for scale_of in ("image", "fitted"):
        augmentation = Augmentation(size=(32, 48), scale=(0.1, 2.0), scale_of=scale_of, **everything)  # type: ignore[arg-type]
        for image, label in draws(augmentation, 20, **size):
            assert image.shape == (32, 48, 3)
            assert label.shape == (32, 48)


def test_scales_are_drawn_log_uniformly() -> None:
    """As often halved as doubled: the mean of log(factor) is 0 for (1/2, 2)."""
    augmentation = Augmentation(size=(200, 200), scale=(0.5, 2.0), flip=0.0)
    heights = [int((label != IGNORED).any(1).sum()) for _, label in draws(augmentation, 100)]
    logs = np.log2(np.array(heights) / 60)
    assert logs.min() == pytest.approx(-1, abs=0.1)
    assert logs.max() == pytest.approx(1, abs=0.1)
    assert abs(logs.mean()) < 0.2  # uniform on [-1, 1]: standard error of 100 draws is 0.06


def test_the_aspect_changes_and_the_area_stays() -> None:
    augmentation = Augmentation(size=(200, 300), aspect=0.3, scale=(1.0, 1.0), flip=0.0)
    stretches = []
    for _, label in draws(augmentation, 100):
        height, width = ((label != IGNORED).any(axis).sum() for axis in (1, 0))
        assert height * width == pytest.approx(60 * 90, rel=0.02)  # half a pixel of 60
        stretches.append(width / height / 1.5)
    # U(0.7, 1.3) / U(0.7, 1.3) is 1 in the middle, and 100 draws come near to its ends, 0.54 and 1.86.
    assert 0.53 < min(stretches) < 0.75
    assert 1.4 < max(stretches) < 1.9
    assert np.median(stretches) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [(40, 120), (120, 40), (50, 75)])
def test_a_fitted_scale_of_1_is_the_letterbox(size: tuple[int, int]) -> None:
    """The largest that is whole inside: it touches two opposite sides."""
    augmentation = Augmentation(size=size, scale=(1.0, 1.0), scale_of="fitted", flip=0.0)
    for _, label in draws(augmentation, 5):
        height, width = ((label != IGNORED).any(axis).sum() for axis in (1, 0))
        assert height == size[0] or width == size[1]
        assert width / height == pytest.approx(1.5, abs=0.03)


def test_fitted_scales_are_drawn_uniformly() -> None:
    augmentation = Augmentation(size=(60, 90), scale=(0.2, 1.0), scale_of="fitted", flip=0.0)
    heights = [int((label != IGNORED).any(1).sum()) for _, label in draws(augmentation, 100)]
    # Uniform on 0.2 to 1: mean 0.6, standard error of 100 draws 0.023; drawn log-uniformly the mean would be 0.497.
    assert np.mean(heights) / 60 == pytest.approx(0.6, abs=0.07)


def test_jitter_shows_the_whole_image_on_gray_and_pieces_of_it() -> None:
    augmentation = Augmentation.preset("jitter", (64, 64), hsv=(0.0, 0.0, 0.0), blur=0.0, rotate=0.0)
    heights = []
    for image, label in draws(augmentation, 80):
        heights.append((label != IGNORED).any(1).sum())
        assert (image[label == IGNORED] == 128).all()
    assert min(heights) < 20  # a quarter of what fits, of an image that is wider than high
    assert max(heights) == 64  # twice what fits: cut


def test_a_rotation_turns_by_its_angle_and_shows_the_image_in_the_corners() -> None:
    """A horizontal edge through a large image: its slope is the angle, and few corners are padded."""
    label = np.zeros((400, 400), np.uint8)
    label[200:] = 1
    image = np.repeat(label[..., None] * 255, 3, axis=-1)
    augmentation = Augmentation(size=(100, 100), scale=(1.0, 1.0), rotate=1.0, rotate_degrees=20.0, flip=0.0)
    degrees, padded = [], 0
    for seed in range(100):
        _, ids = augmentation(image, label, np.random.default_rng(seed))
        tops = np.argmax(ids == 1, axis=0)
        if (ids[0] == 0).all() and (ids[-1] == 1).all():
            degrees.append(np.degrees(np.arctan(np.polyfit(np.arange(100), tops, 1)[0])))
        padded += IGNORED in ids
    assert len(degrees) > 20
    # Turned by 20 degrees a corner reaches 14 pixels out of the piece, whose place is one of 301 in each direction: at
    # most 1 - (1 - 28 / 301) ** 2 = 18 % of the pieces lie so close to an edge; and four standard deviations.
    assert padded <= 34
    assert 10 < max(degrees) <= 20.5
    assert -20.5 <= min(degrees) < -10


def test_a_corner_that_a_rotation_uncovers_is_ignored() -> None:
    augmentation = Augmentation(size=(60, 90), scale=(1.0, 1.0), rotate=1.0, rotate_degrees=30.0, hsv=(0.0, 0.0, 0.0))
    for image, label in draws(augmentation, 10):
        assert (label == IGNORED).any()
        # Where the image ends its color runs into the padding, within two pixels.
        far = np.ones(label.shape, bool)
        for axis in (0, 1):
            for shift in range(-2, 3):
                far &= np.roll(label, shift, axis) == IGNORED
        assert np.abs(image[far].astype(int) - 128).max(initial=0) <= 1


def test_elastic_displacements_are_smooth_and_of_their_size() -> None:
    """Where each pixel comes from, read off the colors: a ramp of x in one channel and of y in another."""
    rows, columns = np.indices((250, 250)).astype(np.uint8)
    image, label = np.dstack([columns, rows, rows]), np.zeros((250, 250), np.uint8)
    plain = {"scale": (1.0, 1.0), "flip": 0.0, "hsv": (0.0, 0.0, 0.0)}
    moved = []
    for seed in range(40):
        bent, _ = Augmentation(size=(120, 120), elastic=6.0, **plain)(image, label, np.random.default_rng(seed))  # type: ignore[arg-type]
        for channel, axis in ((0, 1), (1, 0)):
            steps = np.diff(bent[30:-30, 30:-30, channel].astype(int), axis=axis)
            # Cubic between points 40 pixels apart: from one pixel to the next as far as in the image, give or take
            # 1.5 times the largest difference of two of 9 draws (4 standard deviations) over 40, and rounding.
            assert 0 <= steps.min() <= steps.max() <= 3
        corner = bent[20, 20, :2].astype(float) - bent[60, 60, :2] + 40
        moved += corner.tolist()
    # The difference of two grid points' displacements: a standard deviation of 6 * sqrt(2), of 80 draws within 25 %.
    assert np.std(moved) == pytest.approx(6 * 2**0.5, rel=0.25)


def test_nothing_is_ignored_that_the_image_goes_on_for() -> None:
    """However far the cubic goes beyond its grid: only draws within some 40 pixels of the edges of 2000 may have it."""
    image, label = np.zeros((2000, 2000, 3), np.uint8), np.zeros((2000, 2000), np.uint8)
    augmentation = Augmentation(size=(100, 100), scale=(1.0, 1.0), rotate=0.5, rotate_degrees=180.0, elastic=10.0)
    ids = [augmentation(image, label, np.random.default_rng(seed))[1] for seed in range(100)]
    assert np.mean([(one == IGNORED).any() for one in ids]) < 0.2  # 4 edges, 40 of 1900 pixels: 0.08


def test_a_vertical_flip_and_a_blur_have_their_probability() -> None:
    plain = {"scale": (1.0, 1.0), "flip": 0.0, "hsv": (0.0, 0.0, 0.0)}
    image, label = pair()
    for probability, low, high in ((0.0, 0, 0), (1.0, 100, 100), (0.5, 30, 70)):
        flipped = draws(Augmentation(size=(60, 90), flip_vertical=probability, **plain), 100)  # type: ignore[arg-type]
        assert low <= sum((ids == label[::-1]).all() for _, ids in flipped) <= high
        blurred = list(draws(Augmentation(size=(60, 90), blur=probability, **plain), 100))  # type: ignore[arg-type]
        assert low <= sum((augmented != image).any() for augmented, _ in blurred) <= high
        assert all((ids == label).all() for _, ids in blurred)


def test_brightness_is_added_and_contrast_is_about_middle_gray() -> None:
    gray = np.repeat(np.arange(50, 206, dtype=np.uint8)[None, :, None], 3, axis=-1)
    label = np.zeros((1, 156), np.uint8)
    plain = {"scale": (1.0, 1.0), "flip": 0.0, "hsv": (0.0, 0.0, 0.0)}
    added, slopes = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        brighter, _ = Augmentation(size=(1, 156), brightness=0.15, **plain)(gray, label, rng)  # type: ignore[arg-type]
        difference = brighter.astype(int) - gray
        assert difference.min() == difference.max()
        added.append(difference.max())
        steeper, _ = Augmentation(size=(1, 156), contrast=0.2, **plain)(gray, label, rng)  # type: ignore[arg-type]
        slope, start = np.polyfit(gray[0, :, 0], steeper[0, :, 0], 1)
        assert slope * 127.5 + start == pytest.approx(127.5, abs=0.5)  # rounding
        slopes.append(slope)
    assert -39 < min(added) < -25 < 25 < max(added) < 39  # 0.15 of 255 is 38
    assert 0.79 < min(slopes) < 0.87 < 1.13 < max(slopes) < 1.21


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": (0, 32)}, r"size must be \(H, W\)"),
        ({"scale": (1.2, 0.8)}, "smallest, largest"),
        ({"scale": (0.0, 1.0)}, "above 0"),
        ({"scale_of": "width"}, "scale_of must be one of image, fitted, longer-side, got 'width'"),
        ({"aspect_of": "input"}, "goes with scale_of 'fitted' or 'longer-side'"),
        ({"border": "mirror"}, "border must be one of pad, repeat, got 'mirror'"),
        ({"hue_change": "turn"}, "hue_change must be one of around, cut, times"),
        ({"zoom": 1.0}, "zoom must be 0 to below 1"),
        ({"shift": -0.1}, "shift must be 0 to 1"),
        ({"aspect": 1.0}, "0 to below 1"),
        ({"flip": 1.5}, "flip must be 0 to 1, got 1.5"),
        ({"brightness": -0.1}, "brightness must be 0 to 1"),
        ({"hsv": (0.1, 2.0, 0.1)}, "hsv must be three numbers"),
        ({"rotate_degrees": 200.0}, "0 to 180"),
        ({"hsv": (0.1, 0.1)}, "hsv must be three numbers"),
        ({"elastic": -1.0}, "elastic must be 0 or more pixels"),
        ({"blur_size": 4}, "odd"),
    ],
)
def test_a_knob_out_of_its_range_is_an_input_error(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Augmentation(**{"size": (32, 32), **changes})


def test_a_preset_is_changed_by_its_fields_and_an_unknown_one_is_refused() -> None:
    assert Augmentation.preset("crop", (32, 48)) == Augmentation(size=(32, 48))
    assert Augmentation.preset("jitter", (32, 48), flip=0.0).aspect == 0.3
    with pytest.raises(InputError, match="crop, jitter, unet, hrnet, notes, got 'mosaic'"):
        Augmentation.preset("mosaic", (32, 48))  # type: ignore[arg-type]
