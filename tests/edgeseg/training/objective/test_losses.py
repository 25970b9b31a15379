from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import load_keras_file
from edgeseg.training.objective.losses import ClassWeights, Dice, Focal, LossKind, SegmentationLoss

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0, 2, (2, 3, 4, 3))
IDS = RNG.integers(0, 3, (2, 3, 4)).astype(np.uint8)
IDS[0, 0, :3] = IDS[1, 2] = 255
WEIGHTS = [0.5, 2.0, 1.25]

SETTINGS: list[dict[str, Any]] = [
    {"kind": "cross-entropy"},
    {"kind": "cross-entropy", "class_weights": WEIGHTS, "label_smoothing": 0.1},
    {"kind": "focal", "focal": Focal(alpha=0.25)},
    {"kind": "focal", "class_weights": WEIGHTS, "focal": Focal(gamma=0.5), "label_smoothing": 0.2},
    {"kind": "dice"},
    {"kind": "dice", "dice": Dice(beta=2.0, smooth=0.5)},
    {"kind": "cross-entropy+dice", "class_weights": WEIGHTS},
    {"kind": "focal+dice", "class_weights": [0.0, 1.0, 3.0], "dice": Dice(beta=0.5)},
    {"kind": "focal+dice", "class_weights": ClassWeights(WEIGHTS, normalized=False), "probability_clip": 0.02},
]


def reference(
    ids: np.ndarray,
    logits: np.ndarray,
    *,
    kind: LossKind,
    class_weights: ClassWeights | list[float] | None = None,
    label_smoothing: float = 0.0,
    probability_clip: float = 0.0,
    focal: Focal | None = None,
    dice: Dice | None = None,
    ignore_index: int | None = 255,
) -> float:
    """The formulas of the docstring, a pixel at a time, in float64."""
    focal, dice = focal or Focal(), dice or Dice()
    weights = ClassWeights(class_weights) if isinstance(class_weights, list) else class_weights
    scored = slice(logits.shape[-1] == 1, None)  # of one channel Dice scores class 1 alone
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    classes = logits.shape[-1]
    pixels = [(y, row) for y, row in zip(ids.ravel(), logits.reshape(-1, classes), strict=True) if y != ignore_index]
    above = below = 0.0
    tp, fp, fn = np.zeros((3, classes))
    for y, row in pixels:
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        p = np.clip(p, probability_clip, 1 - probability_clip)
        q = np.array([(1 - label_smoothing) * (c == y) + label_smoothing / classes for c in range(classes)])
        value = -(q * np.log(p)).sum()
        if "focal" in kind:
            value *= focal.alpha * (1 - p[y]) ** focal.gamma
        weight = 1.0 if weights is None else weights.values[y]
        above, below = above + weight * value, below + (weight if weights is None or weights.normalized else 1)
        for c in range(classes):
            tp[c] += p[c] * (c == y)
            fp[c] += p[c] * (c != y)
            fn[c] += (1 - p[c]) * (c == y)
    loss = above / below if kind != "dice" else 0.0
    if "dice" in kind:
        b2 = dice.beta**2
        scores = ((1 + b2) * tp + dice.smooth) / ((1 + b2) * tp + b2 * fn + fp + dice.smooth)
        loss += 1 - np.mean(scores[scored])
    return float(loss)


def value_and_gradient(loss: SegmentationLoss, ids: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Through a compiled function, as ``fit`` runs it."""
    import tensorflow as tf

    @tf.function
    def step(logits: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(tf.constant(ids), logits)
        return value, tape.gradient(value, logits)

    value, gradient = step(tf.constant(logits, tf.float32))
    return float(value), gradient.numpy()


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_values_and_gradients_are_those_of_the_formulas(settings: dict[str, Any]) -> None:
    require_formulas(IDS, LOGITS, settings)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_one_channel_is_one_class_against_the_other(settings: dict[str, Any]) -> None:
    weights = {"class_weights": [0.5, 2.0]} if "class_weights" in settings else {}
    require_formulas(np.where(IDS == 2, 1, IDS), LOGITS[..., :1], settings | weights)


def require_formulas(ids: np.ndarray, logits: np.ndarray, settings: dict[str, Any]) -> None:
    """Compare value and gradient with the reference."""
    value, gradient = value_and_gradient(SegmentationLoss(**settings), ids, logits)
    # float32 against float64, sums of 17 pixels.
    assert value == pytest.approx(reference(ids, logits, **settings), rel=2e-6)
    expected, step = np.zeros_like(logits), 1e-5
    for index in np.ndindex(logits.shape):
        moved = np.zeros_like(logits)
        moved[index] = step
        above, below = (reference(ids, logits + sign * moved, **settings) for sign in (1, -1))
        expected[index] = (above - below) / (2 * step)
    # Central differences in float64 err by step^2 and 1e-16 / step: 1e-10; the rest is float32.
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
    assert (gradient[ids == 255] == 0).all()
    assert np.abs(gradient[ids != 255]).max() > 1e-3


@pytest.mark.parametrize("settings", SETTINGS[:6:2], ids=lambda s: s["kind"])
def test_a_batch_without_counted_pixels_has_no_loss_and_no_gradient(settings: dict[str, Any]) -> None:
    value, gradient = value_and_gradient(SegmentationLoss(**settings), np.full_like(IDS, 255), LOGITS)
    assert value == 0
    assert (gradient == 0).all()


def test_an_ignored_id_below_the_class_count_and_none_at_all() -> None:
    ids = IDS % 3
    for ignore_index in (1, None):
        value, _ = value_and_gradient(SegmentationLoss("focal+dice", ignore_index=ignore_index), ids, LOGITS)
        expected = reference(ids, LOGITS, kind="focal+dice", ignore_index=ignore_index)
        assert value == pytest.approx(expected, rel=2e-6)


def test_plain_cross_entropy_is_keras_own() -> None:
    own = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=255, reduction="mean_with_sample_weight"
    )
    weights = np.append(np.array(WEIGHTS, np.float32), np.zeros(253, np.float32))
    expected = float(own(IDS, LOGITS.astype(np.float32), weights[IDS]))
    assert float(SegmentationLoss(class_weights=WEIGHTS)(IDS, LOGITS)) == pytest.approx(expected, rel=2e-6)


def test_sure_pixels_have_finite_gradients() -> None:
    """At p = 1 the slope of (1 - p)^gamma is infinite for gamma below 1, at p = 0 the logarithm is."""
    logits = np.array([[[200.0, 0, 0], [-200.0, 0, 0]]])
    for kind in ("focal+dice", "cross-entropy+dice"):
        loss = SegmentationLoss(kind, focal=Focal(gamma=0.5), label_smoothing=0.1)
        value, gradient = value_and_gradient(loss, np.zeros((1, 2)), logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["cross-entropy", "dice"])
def test_an_id_that_is_no_class_makes_the_loss_nan(kind: LossKind) -> None:
    ids = IDS.copy()
    ids[0, 1, 1] = 3
    assert np.isnan(float(SegmentationLoss(kind)(ids, LOGITS)))


def test_half_precision_logits_are_summed_in_float32() -> None:
    """100,000 pixels: float16 ends at 65,504."""
    half = LOGITS.astype(np.float16)
    logits, ids = np.tile(half, (8, 16, 33, 1)), np.tile(IDS, (8, 16, 33))
    loss = SegmentationLoss("focal+dice")(ids, ops.convert_to_tensor(logits))
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) == pytest.approx(reference(IDS, half.astype(float), kind="focal+dice"), rel=1e-5)


def test_labels_may_be_flat_or_have_a_channel() -> None:
    loss = SegmentationLoss("cross-entropy+dice", class_weights=WEIGHTS)
    expected = float(loss(IDS, LOGITS))
    assert float(loss(IDS[..., None], LOGITS)) == expected
    assert float(loss(IDS.reshape(2, 12).astype(np.int64), LOGITS.reshape(2, 12, 3))) == pytest.approx(expected)


def test_a_model_learns_with_it_and_is_saved_with_it(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 1)])
    loss = SegmentationLoss(
        "focal+dice",
        class_weights=ClassWeights(WEIGHTS, normalized=False),
        label_smoothing=0.1,
        probability_clip=1e-6,
        focal=Focal(gamma=1.5),
        dice=Dice(beta=2.0),
    )
    model.compile(keras.optimizers.Adam(0.1), loss)
    images = np.random.default_rng(0).random((8, 4, 4, 3), np.float32)
    ids = images.argmax(-1).astype(np.uint8)
    history = model.fit(images, ids, batch_size=4, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    model.save(tmp_path / "m.keras")
    again = load_keras_file(tmp_path / "m.keras", compile=True)
    assert again.loss.get_config() == loss.get_config()
    assert again.evaluate(images, ids, verbose=0) == pytest.approx(model.evaluate(images, ids, verbose=0))


def test_a_loss_of_an_earlier_file_is_read() -> None:
    config = SegmentationLoss(class_weights=WEIGHTS).get_config()
    old = {
        name: value for name, value in config.items() if name not in ("class_weight_normalization", "probability_clip")
    }
    assert SegmentationLoss.from_config(old).get_config() == config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"probability_clip": 0.5}, "probability_clip must be above 0 and below 0.5, got 0.5"),
        ({"kind": "crossentropy"}, "loss 'crossentropy' is none of cross-entropy, focal"),
        ({"class_weights": [1.0, -1.0]}, r"class_weights must be numbers of 0 or more.*got \[1\.0, -1\.0\]"),
        ({"class_weights": [0, 0]}, "not all 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be at least 0 and below 1, got 1\.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SegmentationLoss(**settings)


@pytest.mark.parametrize(
    ("part", "settings", "said"),
    [
        (Focal, {"gamma": -1}, "focal_gamma must be 0 or more, got -1"),
        (Dice, {"smooth": 0.0}, r"dice_smooth must be above 0, got 0\.0"),
    ],
)
def test_bad_settings_of_a_part_are_refused(part: type, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        part(**settings)


@pytest.mark.parametrize(
    ("ids", "logits", "said"),
    [
        ((2, 4, 4), (2, 8, 8, 3), r"labels are \(2, 4, 4\) and logits \(2, 8, 8, 3\); labels must be \(2, 8, 8\)"),
        ((2, 4, 4, 3), (2, 4, 4, 3), "one id for a pixel"),
        ((2, 4, 4), (2, 4, 4, 1), "3 class_weights for 2 classes"),
        ((2, 4, 4), (2, 4, 4, 5), "3 class_weights for 5 classes"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(ids: Any, logits: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SegmentationLoss(class_weights=WEIGHTS)(np.zeros(ids), np.zeros(logits))
