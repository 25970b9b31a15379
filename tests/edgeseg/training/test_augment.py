from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgeseg.training.augment import IGNORED, Augmentation

# Colours far apart in hue and full in saturation, so that the colour jitter does not mistake one for another.
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.int64)
PAD = (128, 128, 128)


def pair(height: int = 60, width: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colour is the id: four unlike quarters, with a mark that breaks every symmetry."""
    label = np.zeros((height, width), np.uint8)
    label[: height // 2, width // 3 :] = 1
    label[height // 2 :, : width // 4] = 2
    label[height // 2 + 5 :, width // 2 :] = 3
    return COLOURS[label].astype(np.uint8), label


def ids_of(image: np.ndarray) -> np.ndarray:
    """The ids that the colours say: the nearest of the four, ``IGNORED`` where it is nearest to the padding."""
    known = np.vstack([COLOURS, [PAD]])
    distance = np.abs(image[:, :, None].astype(np.int64) - known).sum(-1)
    return np.array([0, 1, 2, 3, IGNORED], np.uint8)[distance.argmin(-1)]


def draws(augmentation: Augmentation, count: int = 40, **size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(count):
        yield augmentation(*pair(**size), np.random.default_rng(seed))


@pytest.mark.parametrize("crop_size", [(60, 90), (24, 36), (100, 150), (100, 40)])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_picture_and_label_keep_the_same_geometry(crop_size: tuple[int, int], scale: tuple[float, float]) -> None:
    augmentation = Augmentation(crop_size, scale=scale, hsv=(0.0, 0.0, 0.0), pad_value=PAD)
    for image, label in draws(augmentation):
        assert image.shape == (*crop_size, 3)
        assert label.shape == crop_size
        assert (image.dtype, label.dtype) == (np.uint8, np.uint8)
        wrong = ids_of(image) != label
        # A blend of two colours may be nearest to a third, but only within two pixels of an edge, which may itself lie
        # outside the crop.
        edge = np.ones(crop_size, bool)
        edge[2:-2, 2:-2] = False
        for axis in (0, 1):
            for shift in range(-2, 3):
                edge |= np.roll(label, shift, axis) != label
        assert not (wrong & ~edge).any()


@pytest.mark.parametrize("scale", [(0.4, 1.0), (1.0, 2.5)])
def test_picture_and_label_are_not_shifted_against_each_other(scale: tuple[float, float]) -> None:
    """The centre of a white square, by the grey values and by the ids."""
    label = np.zeros((60, 90), np.uint8)
    label[15:41, 20:57] = 1
    image = np.repeat(label[..., None] * 255, 3, axis=-1)
    augmentation = Augmentation((160, 240), scale=scale, hsv=(0.0, 0.0, 0.0), pad_value=(0, 0, 0))
    differences = []
    for seed in range(60):
        grey, ids = augmentation(image, label, np.random.default_rng(seed))
        centres = []
        for mass in (grey[..., 0] / 255, ids == 1):
            rows, columns = np.indices(mass.shape)
            centres.append([(rows * mass).sum() / mass.sum(), (columns * mass).sum() / mass.sum()])
        differences.append(np.subtract(*centres))
    # An id takes a whole pixel or none, which moves each of two edges by half a pixel at most; on average by nothing.
    # OpenCV's plain nearest neighbour, which rounds down, would be off by a quarter to three quarters of a pixel.
    assert np.abs(differences).max() < 0.51
    assert np.abs(np.mean(differences, axis=0)).max() < 0.1


def test_without_scaling_every_pixel_agrees() -> None:
    augmentation = Augmentation((40, 50), scale=(1.0, 1.0), hsv=(0.0, 0.0, 0.0))
    for image, label in draws(augmentation):
        assert (ids_of(image) == label).all()


def test_a_strong_colour_jitter_moves_no_pixel() -> None:
    augmentation = Augmentation((60, 90), scale=(1.0, 1.0), hsv=(0.05, 0.2, 0.2))
    seen = set()
    for image, label in draws(augmentation):
        assert (ids_of(image) == label).all()
        seen.add(image.tobytes())
    assert len(seen) > 30  # few colours, so that two draws may round to the same


def test_without_jitter_the_colours_stay() -> None:
    """Through HSV and back, which rounds hue to 2 degrees: full colours come back as they were."""
    augmentation = Augmentation((60, 90), scale=(1.0, 1.0), flip=0.0, hsv=(0.0, 0.0, 0.0))
    for image, label in draws(augmentation, 3):
        assert (image == pair()[0]).all()
        assert (label == pair()[1]).all()


def test_the_flip_has_its_probability() -> None:
    def flipped(probability: float) -> int:
        augmentation = Augmentation((60, 90), scale=(1.0, 1.0), flip=probability)
        mirrored = pair()[1][:, ::-1]
        return sum((label == mirrored).all() for _, label in draws(augmentation, 100))

    assert flipped(0.0) == 0
    assert flipped(1.0) == 100
    assert 30 < flipped(0.5) < 70  # 4 standard deviations around 50


def test_what_is_added_is_ignored_and_has_the_pad_colour() -> None:
    augmentation = Augmentation((100, 150), scale=(0.5, 1.0), flip=0.0, hsv=(0.0, 0.0, 0.0), pad_value=(9, 9, 9))
    for image, label in draws(augmentation):
        added = label == IGNORED
        height, width = (~added).any(1).sum(), (~added).any(0).sum()
        assert 30 <= height <= 60
        assert width / height == pytest.approx(1.5, abs=0.05)
        assert (~added[:height, :width]).all()
        assert added.sum() == 100 * 150 - height * width
        assert (image[added] == 9).all()


def test_ids_are_never_invented() -> None:
    """Blending ids 0 and 7 would give 1 to 6; ids on a fine grid, where any blend would show."""
    label = np.where(np.indices((60, 90)).sum(0) % 3 == 0, 7, 0).astype(np.uint8)
    label[20:30] = IGNORED
    image = np.zeros((60, 90, 3), np.uint8)
    augmentation = Augmentation((48, 64), scale=(0.3, 3.0))
    found: set[int] = set()
    for seed in range(60):
        _, ids = augmentation(image, label, np.random.default_rng(seed))
        found |= set(np.unique(ids).tolist())
    assert found == {0, 7, IGNORED}


def test_the_generator_decides_everything() -> None:
    augmentation = Augmentation((48, 64))
    first, again, other = (augmentation(*pair(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    for a, b, c in zip(first, again, other, strict=True):
        assert (a == b).all()
        assert (a != c).any()


def test_what_was_given_is_not_changed_nor_shared() -> None:
    image, label = pair()
    was = image.copy(), label.copy()
    augmented = Augmentation((60, 90), scale=(1.0, 1.0), flip=0.0)(image, label, np.random.default_rng(0))
    for array in augmented:
        assert array.flags.c_contiguous
        array[:] = 0
    assert (image == was[0]).all()
    assert (label == was[1]).all()


@pytest.mark.parametrize("size", [{"height": 1, "width": 1}, {"height": 2, "width": 300}, {"height": 300, "width": 2}])
def test_any_size_of_picture_gives_the_crop(size: Any) -> None:
    for image, label in draws(Augmentation((32, 48), scale=(0.1, 2.0)), 20, **size):
        assert image.shape == (32, 48, 3)
        assert label.shape == (32, 48)


def test_scales_are_drawn_log_uniformly() -> None:
    """As often halved as doubled: the mean of log(factor) is 0 for (1/2, 2)."""
    augmentation = Augmentation((200, 200), scale=(0.5, 2.0), flip=0.0)
    heights = [int((label != IGNORED).any(1).sum()) for _, label in draws(augmentation, 100)]
    logs = np.log2(np.array(heights) / 60)
    assert logs.min() == pytest.approx(-1, abs=0.1)
    assert logs.max() == pytest.approx(1, abs=0.1)
    assert abs(logs.mean()) < 0.2  # uniform on [-1, 1]: standard error of 100 draws is 0.06
