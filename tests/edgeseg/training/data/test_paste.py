from __future__ import annotations

import numpy as np
import pytest

from edgeseg.datasets import Classes
from edgeseg.errors import InputError
from edgeseg.training.data.augment import IGNORED, Augmentation
from edgeseg.training.data.paste import Paste, pasted

PLAIN = Augmentation(size=(24, 32), scale=(1.0, 1.0), flip=0.0, hsv=(0.0, 0.0, 0.0))


class _One:
    """One white image: a square of class 1, beside it a stripe that is ignored, the rest background."""

    classes = Classes(names=("background", "thing"), palette=((0, 0, 0), (255, 0, 0)), ignore_index=IGNORED)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        assert index == 1, "the other one has no weight"
        return np.full((24, 32, 3), 255, np.uint8), self.read_label(index)

    def read_label(self, index: int) -> np.ndarray:
        label = np.zeros((24, 32), np.uint8)
        label[6:18, 8:20], label[:, 24:28] = 1, IGNORED
        return label


def test_the_classes_of_another_image_are_pasted_and_its_background_is_not() -> None:
    paste = Paste(augmentation=PLAIN, others=_One(), chance=1.0, weights=np.array([0.0, 1.0]))
    below = np.full((24, 32), 2, np.uint8)
    image, ids = paste(np.zeros((24, 32, 3), np.uint8), below, np.random.default_rng(0))
    assert (ids[6:18, 8:20] == 1).all()
    ids[6:18, 8:20] = 2
    assert (ids == 2).all(), "neither the background nor what is ignored is pasted"
    # The edge of the mask is blended; two pixels from it, 2.5 standard deviations of the blur, nothing shows through.
    assert (image[8:16, 10:18] >= 253).all()
    assert image[:, 24:].max() == 0
    assert 64 < image[6:18, 8].mean() < 192


def test_the_other_image_is_drawn_by_chance_and_without_it_nothing_changes() -> None:
    image, ids = np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32), np.uint8)
    never = Paste(augmentation=PLAIN, others=_One(), chance=0.0)
    some = Paste(augmentation=PLAIN, others=_One(), chance=0.5, weights=np.array([0.0, 1.0]))
    draws = [some(image, ids, np.random.default_rng(seed))[1].any() for seed in range(60)]
    assert 15 <= sum(draws) <= 45  # 3.9 standard deviations of 60 throws
    assert not any(never(image, ids, np.random.default_rng(seed))[1].any() for seed in range(20))
    with pytest.raises(InputError, match=r"Paste\.chance must be 0 to 1, got 2"):
        Paste(augmentation=PLAIN, others=_One(), chance=2)


def test_another_id_may_be_the_background() -> None:
    above_ids = np.array([[0, 1, IGNORED]], np.uint8)
    above = np.full((1, 3, 3), 255, np.uint8)
    _, ids = pasted(np.zeros((1, 3, 3), np.uint8), np.full((1, 3), 7, np.uint8), above, above_ids, background=1)
    assert ids.tolist() == [[0, 7, 7]]
