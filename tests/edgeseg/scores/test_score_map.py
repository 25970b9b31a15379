"""``score_map``: the scores of an image enlarged, its best classes and the share of some, as plain numpy has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.imaging import placement_of
from edgeseg.scores.score_map import ScoreMap
from edgeseg.spec import ModelSpec, default_class_names, default_palette


def spec_of(num_classes: int, **fields: Any) -> ModelSpec:
    names, palette = default_class_names(num_classes), default_palette(num_classes)
    return ModelSpec(name="m", input_size=(16, 24), class_names=names, palette=palette, **fields)


def random_scores(num_classes: int, height: int = 16, width: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(num_classes).normal(size=(height, width, num_classes)).astype(np.float32)


def bilinear(values: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """The definition: the middles of pixels are half a step in, and the border is repeated."""
    for axis, wanted in enumerate(size_hw):
        have = values.shape[axis]
        at = np.clip((np.arange(wanted) + 0.5) * have / wanted - 0.5, 0, have - 1)
        low = np.minimum(at.astype(int), max(have - 2, 0))
        weight = (at - low).reshape([-1 if other == axis else 1 for other in range(3)])
        high = np.minimum(low + 1, have - 1)
        values = values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight
    return values


@pytest.mark.parametrize("num_classes", [1, 2, 11, 150])
@pytest.mark.parametrize("size_hw", [(48, 100), (9, 7), (16, 24)], ids=["larger", "smaller", "equal"])
def test_classes_are_the_best_of_the_enlarged_scores(num_classes: int, size_hw: tuple[int, int]) -> None:
    scores = ScoreMap(random_scores(num_classes), "logits", size_hw)
    expected = bilinear(scores.values, size_hw)
    # The weights are of float32, and the scores go up to 5.
    np.testing.assert_allclose(scores.enlarged(), expected, atol=1e-5)
    best = expected.max(-1, keepdims=True)
    unsure = (expected > best - 2e-5).sum(-1) > 1
    assert unsure.sum() <= 3
    np.testing.assert_array_equal(scores.class_map()[~unsure], expected.argmax(-1)[~unsure])


def test_the_nearest_class_map_is_that_of_class_ids() -> None:
    scores = ScoreMap(random_scores(11), "logits", (48, 72))
    ids = scores.values.argmax(-1)
    assert (scores.nearest_class_map() == np.kron(ids, np.ones((3, 3)))).all()
    assert (scores.nearest_class_map() != scores.class_map()).any()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_of_equal_scores_the_first_is_the_best(num_classes: int) -> None:
    scores = ScoreMap(np.full((4, 4, num_classes), 0.25, np.float32), "logits", (8, 8))
    assert not scores.class_map().any()


def test_bars_are_cut_off_before_scores_are_enlarged() -> None:
    """What a model says of the bars reaches no pixel of the image."""
    spec = spec_of(2, output_kind="softmax")
    placement = placement_of((32, 32), spec)  # 16x16 between two bars of 4
    values = np.zeros((16, 24, 2), np.float32)
    values[:, :4, 1] = values[:, 20:, 1] = 1
    values[:, 4:20, 0] = 1
    scores = ScoreMap.of(values, spec, placement)
    assert scores.values.shape == (16, 16, 2)
    assert (scores.enlarged() == [1, 0]).all()
    # A map of half the size has bars of two pixels, and mixes the pixels beside the ends of the bars.
    half = ScoreMap.of(values[::2, ::2], spec, placement)
    assert half.values.shape == (16, 16, 2)
    assert not half.class_map().any()
    # Without bars it is enlarged in one step.
    whole = ScoreMap.of(values[::2, ::2], spec, placement_of((32, 48), spec))
    assert whole.values.shape == (8, 12, 2)
    with pytest.raises(ValueError, match="class ids are no scores"):
        ScoreMap.of(values, spec.replace(output_kind="argmax"), placement)


def test_the_share_of_some_classes_is_the_sum_of_their_probabilities() -> None:
    logits = random_scores(5) * 50  # of which float32 has no exponential
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    softmax = powers / powers.sum(-1, keepdims=True)
    ids = np.isin(np.arange(256), [1, 4, 200])
    for values, kind in ((logits, "logits"), (softmax.astype(np.float32), "softmax")):
        share = ScoreMap(values, kind, (32, 32)).share(ids)
        assert (share.dtype, share.shape) == (np.float32, (16, 24))
        np.testing.assert_allclose(share, softmax[..., [1, 4]].sum(-1), atol=1e-6)  # a few steps of float32


def test_probabilities_in_bytes_that_sum_to_more_than_one_are_cut_off() -> None:
    scores = ScoreMap(np.full((2, 2, 2), 129 / 256, np.float32), "softmax", (2, 2))
    assert (scores.share(np.ones(256, bool)) == 1).all()
    assert (scores.share(np.zeros(256, bool)) == 0).all()
