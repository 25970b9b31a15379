"""``losses`` against what the tutorials compute, typed again in numpy: weights, clipped probabilities, one channel.

The U-Net and HRNet tutorials take the softmax of an image's pixels and one-hot labels with a further channel for
ignored pixels, clip it by Keras' epsilon of 1e-7, and average over all pixels. The notes on Keras compile
``binary_crossentropy``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.training.objective.losses import ClassWeights, Dice, Focal, SegmentationLoss

EPSILON = 1e-7
WEIGHTS = [0.5, 2.0, 1.25]

RNG = np.random.default_rng(7)
LOGITS = RNG.normal(0, 2, (2, 6, 5, 3))
IDS = RNG.choice(3, (2, 6, 5), p=[0.6, 0.3, 0.1])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def one_hot(ids: np.ndarray, classes: int = 3) -> np.ndarray:
    """With a last channel for the ignored pixels, which the tutorials cut off."""
    return np.eye(classes + 1)[np.minimum(ids, classes)]


def ce(truth: np.ndarray, p: np.ndarray, weights: Any = 1.0) -> float:
    """``CE`` of the U-Net tutorial."""
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return float((-truth[..., :-1] * np.log(p) * weights).sum(-1).mean())


def dice_loss_with_ce(truth: np.ndarray, p: np.ndarray, beta: float = 1.0, smooth: float = 1e-5) -> float:
    """``dice_loss_with_CE`` of the HRNet tutorial."""
    p, truth = np.clip(p, EPSILON, 1 - EPSILON), truth[..., :-1]
    tp = (truth * p).sum((0, 1, 2))
    fp, fn = p.sum((0, 1, 2)) - tp, truth.sum((0, 1, 2)) - tp
    score = ((1 + beta**2) * tp + smooth) / ((1 + beta**2) * tp + beta**2 * fn + fp + smooth)
    return float((-truth * np.log(p)).sum(-1).mean() + 1 - score.mean())


def ours(kind: Any, ids: np.ndarray = IDS, logits: np.ndarray = LOGITS, **settings: Any) -> float:
    return float(SegmentationLoss(kind, **settings)(ids, logits.astype(np.float32)))


def test_weights_are_not_divided_by_their_sum_where_that_is_off() -> None:
    """The two ways differ by the mean weight of the pixels."""
    expected = ce(one_hot(IDS), softmax(LOGITS), WEIGHTS)
    own = ours("cross-entropy", class_weights=ClassWeights(WEIGHTS, normalized=False), probability_clip=EPSILON)
    assert own == pytest.approx(expected, rel=2e-6)  # float32 against float64, sums of 60 pixels
    assert ours("cross-entropy", class_weights=WEIGHTS) == pytest.approx(
        expected / np.array(WEIGHTS)[IDS].mean(), rel=2e-6
    )


def test_ignored_pixels_are_in_the_tutorials_mean_and_in_none_here() -> None:
    ids = np.where(RNG.random(IDS.shape) < 0.3, 255, IDS)
    expected = ce(one_hot(ids), softmax(LOGITS), WEIGHTS)
    own = ours("cross-entropy", ids, class_weights=ClassWeights(WEIGHTS, normalized=False))
    assert own * (ids != 255).mean() == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_dice_with_cross_entropy(beta: float) -> None:
    own = ours("cross-entropy+dice", dice=Dice(beta=beta), probability_clip=EPSILON)
    assert own == pytest.approx(dice_loss_with_ce(one_hot(IDS), softmax(LOGITS), beta), rel=2e-6)


def test_a_surely_wrong_pixel_costs_its_logits_or_what_the_clip_leaves() -> None:
    logits, ids = np.array([[[[-35.0, 35.5]]]]), np.zeros((1, 1, 1), int)
    assert ours("cross-entropy", ids, logits) == pytest.approx(70.5)
    clipped = ours("cross-entropy", ids, logits, probability_clip=EPSILON)
    assert clipped == pytest.approx(ce(one_hot(ids, 2), softmax(logits))) == pytest.approx(16.118, abs=1e-3)


BINARY, MASKS = LOGITS[..., :1], np.minimum(IDS, 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_is_keras_own(smoothing: float) -> None:
    y, p = MASKS, 1 / (1 + np.exp(-BINARY[..., 0]))
    y = y * (1 - smoothing) + smoothing / 2
    expected = float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    own = ours("cross-entropy", MASKS, BINARY, label_smoothing=smoothing)
    assert own == pytest.approx(expected, rel=2e-6)
    theirs = keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
    # Of probabilities, as the notes compile it: Keras rounds 1 - p in float32.
    assert own == pytest.approx(float(theirs(MASKS[..., None], p[..., None].astype(np.float32))), rel=1e-5)


def test_binary_focal_loss_is_keras_own_but_for_the_factor() -> None:
    theirs = keras.losses.BinaryFocalCrossentropy(gamma=1.5, from_logits=True)
    expected = float(theirs(MASKS[..., None], BINARY.astype(np.float32)))
    assert ours("focal", MASKS, BINARY, focal=Focal(alpha=0.25, gamma=1.5)) == pytest.approx(0.25 * expected, rel=1e-5)


def test_binary_dice_is_of_the_foreground_alone() -> None:
    p, y, smooth = 1 / (1 + np.exp(-BINARY[..., 0])), MASKS, 1e-3
    expected = 1 - (2 * (p * y).sum() + smooth) / (p.sum() + y.sum() + smooth)
    own = ours("dice", MASKS, BINARY, dice=Dice(smooth=smooth))
    assert own == pytest.approx(expected, rel=2e-6)
    # Keras adds its epsilon of 1e-7 to the denominator instead.
    theirs = keras.losses.Dice()(MASKS[..., None].astype(np.float32), p[..., None].astype(np.float32))
    assert own == pytest.approx(float(theirs), abs=1e-4)
