from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.training.objective.losses import SegmentationLoss
from edgeseg.training.objective.metrics import ClassIoU, FScore, MeanIoU, PixelAccuracy

NAMES = ("sky", "road", "car", "never")


def batches(count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids with ignored pixels, and logits that are right more often than not; the last class is nowhere."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        ids = rng.integers(0, 3, (2, 5, 6)).astype(np.uint8)
        logits = rng.normal(0, 1, (2, 5, 6, 4)).astype(np.float32) + 1.5 * np.eye(4, dtype=np.float32)[ids]
        logits[..., 3] = -9
        ids[:, 0, :2] = 255
        made.append((ids, logits))
    return made


def fed(metric: Any, data: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    for ids, logits in data:
        metric.update_state(ids, logits)
    return metric


def counted(data: list[tuple[np.ndarray, np.ndarray]], ignore_index: int | None = 255) -> ConfusionMatrix:
    matrix = ConfusionMatrix(4, ignore_index)
    for ids, logits in data:
        matrix.update(ids, logits.argmax(-1))
    return matrix


def test_over_batches_they_are_the_numpy_scores() -> None:
    data, expected = batches(), counted(batches())
    assert 0.2 < expected.mean_iou < 0.9
    assert (fed(MeanIoU(4), data).confusion_matrix().counts == expected.counts).all()
    # float32 against float64.
    assert float(fed(MeanIoU(4), data).result()) == pytest.approx(expected.mean_iou, rel=1e-6)
    assert float(fed(PixelAccuracy(4), data).result()) == pytest.approx(expected.pixel_accuracy, rel=1e-6)
    per_class = fed(ClassIoU(NAMES), data).result()
    assert list(per_class) == ["iou_sky", "iou_road", "iou_car", "iou_never"]
    np.testing.assert_allclose([float(v) for v in per_class.values()], expected.per_class_iou, rtol=1e-6)
    for beta in (0.5, 2.0):
        score = float(fed(FScore(4, beta=beta, threshold=None), data).result())
        assert score == pytest.approx(np.nanmean(expected.per_class_f_score(beta)), rel=1e-6)


@pytest.mark.parametrize("axis", [(), (1,)], ids=["ids", "ids with a channel"])
def test_one_channel_is_the_second_class_above_0(axis: tuple[int, ...]) -> None:
    data = [(np.where(ids == 2, 1, ids), logits[..., :1]) for ids, logits in batches()]
    expected = ConfusionMatrix(2, 255)
    for ids, logits in data:
        expected.update(ids, logits[..., 0] > 0)
    shaped = [(ids.reshape(*ids.shape, *axis), logits) for ids, logits in data]
    assert (fed(MeanIoU(2), shaped).confusion_matrix().counts == expected.counts).all()
    f_score = np.nanmean(expected.per_class_f_score())  # at a threshold of 0.5 each pixel has one class
    assert float(fed(FScore(2), shaped).result()) == pytest.approx(f_score, rel=1e-6)
    with pytest.raises(InputError, match="mean_iou is of 3 classes"):
        fed(MeanIoU(3), shaped)


@pytest.mark.parametrize("ignore_index", [0, None])
def test_an_ignored_id_below_the_class_count_and_none_at_all(ignore_index: int | None) -> None:
    data = [(ids % 3, logits) for ids, logits in batches()]
    metric = fed(MeanIoU(4, ignore_index=ignore_index), data)
    assert (metric.confusion_matrix().counts == counted(data, ignore_index).counts).all()


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.9])
def test_the_f_score_counts_what_is_above_the_threshold(threshold: float) -> None:
    data = batches()
    ids = np.concatenate([ids for ids, _ in data])
    logits = np.concatenate([logits for _, logits in data]).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    scores = []
    for c in range(3):
        label, predicted = (ids == c)[ids != 255], (p[..., c] > threshold)[ids != 255]
        tp, fp, fn = (label & predicted).sum(), (~label & predicted).sum(), (label & ~predicted).sum()
        scores.append(5 * tp / (5 * tp + 4 * fn + fp))
    assert float(fed(FScore(4, beta=2.0, threshold=threshold), data).result()) == pytest.approx(np.mean(scores))


def test_counts_stay_exact_where_one_float32_rounds() -> None:
    """2^24 + 1 is the first number that float32 has not."""
    pixels = 2**20 + 1
    ids, logits = np.zeros((1, pixels)), np.zeros((1, pixels, 2), np.float32)
    metric = PixelAccuracy(2)
    for _ in range(17):
        metric.update_state(ids, logits)
    total = 17 * pixels
    assert total > 2**24
    assert metric.confusion_matrix().counts.tolist() == [[total, 0], [0, 0]]
    metric.update_state(ids[:, :1] + 1, logits[:, :1])
    assert metric.confusion_matrix().counts.tolist() == [[total, 0], [1, 0]]


def test_a_reset_forgets_and_nothing_counted_is_nan() -> None:
    for metric in (MeanIoU(4), PixelAccuracy(4), FScore(4)):
        assert np.isnan(float(metric.result()))
        first = float(fed(metric, batches()).result())
        metric.reset_state()
        assert np.isnan(float(metric.result()))
        assert float(fed(metric, batches()).result()) == first


def test_in_fit_and_from_a_config() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 6, 4)), keras.layers.Conv2D(4, 1)])
    metrics = [MeanIoU(4), ClassIoU(NAMES), PixelAccuracy(4), FScore(4, beta=2.0)]
    model.compile(keras.optimizers.Adam(0.05), SegmentationLoss("cross-entropy+dice"), metrics=metrics)
    ids = np.concatenate([ids for ids, _ in batches()])
    images = np.concatenate([logits for _, logits in batches()])
    logs = model.fit(images, ids, batch_size=2, epochs=1, verbose=0, validation_data=(images, ids)).history
    expected = ConfusionMatrix(4, 255)
    expected.update(ids, model.predict(images, verbose=0).argmax(-1))
    assert logs["val_mean_iou"][-1] == pytest.approx(expected.mean_iou, rel=1e-6)
    assert logs["val_iou_road"][-1] == pytest.approx(expected.per_class_iou[1], rel=1e-6)
    for metric in metrics:
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
        assert type(again) is type(metric)
        assert again.get_config() == metric.get_config()


def test_what_cannot_be_counted_is_refused() -> None:
    ids, logits = batches(1)[0]
    with pytest.raises(InputError, match=r"mean_iou is of 5 classes; labels are \(2, 5, 6\), logits \(2, 5, 6, 4\)"):
        MeanIoU(5).update_state(ids, logits)
    with pytest.raises(InputError, match=r"labels are \(5, 6\)"):
        PixelAccuracy(4).update_state(ids[0], logits)
    with pytest.raises(InputError, match="counts pixels without weights"):
        PixelAccuracy(4).update_state(ids, logits, sample_weight=ids)
    with pytest.raises(InputError, match="num_classes must be 2 or more, got 1"):
        MeanIoU(1)
    with pytest.raises(InputError, match="threshold must be at least 0 and below 1"):
        FScore(4, threshold=1.0)
