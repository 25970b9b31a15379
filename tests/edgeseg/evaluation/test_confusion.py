from __future__ import annotations

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix, argmax_agreement

LABEL = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 1, 1], [1, 1, 2]], np.uint8)


def test_scores_by_hand() -> None:
    matrix = ConfusionMatrix(4, ignore_index=255)
    matrix.update(LABEL, PREDICTION)
    assert matrix.counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    # 0: 1 hit, 2 labeled, 1 predicted -> 1/2.  1: 2 hits, 2 labeled, 4 predicted -> 2/4.  2: 0 of 1.  3: nowhere.
    assert matrix.per_class_iou[:3].tolist() == [0.5, 0.5, 0.0]
    assert np.isnan(matrix.per_class_iou[3])
    assert matrix.mean_iou == pytest.approx(1 / 3)  # over the three that occur
    assert matrix.pixel_accuracy == 3 / 5  # the ignored pixel is not counted
    # Recall: of what is labeled, 1 of 2, 2 of 2, 0 of 1. Precision: of what is predicted, 1 of 1, 2 of 4; 2 never is.
    assert matrix.per_class_recall[:3].tolist() == [0.5, 1.0, 0.0]
    assert matrix.mean_pixel_accuracy == 0.5
    assert matrix.per_class_precision[:2].tolist() == [1.0, 0.5]
    assert np.isnan(matrix.per_class_precision[2:]).all()
    assert matrix.mean_precision == 0.75
    assert matrix.frequency_weighted_iou == pytest.approx((2 * 0.5 + 2 * 0.5 + 1 * 0) / 5)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_f_score_is_the_weighted_harmonic_mean_of_precision_and_recall(beta: float) -> None:
    matrix = ConfusionMatrix(4, ignore_index=255)
    matrix.update(LABEL, PREDICTION)
    for score, precision, recall in zip(
        matrix.per_class_f_score(beta)[:2], matrix.per_class_precision, matrix.per_class_recall, strict=False
    ):
        assert score == pytest.approx((1 + beta**2) * precision * recall / (beta**2 * precision + recall))
    assert matrix.per_class_f_score(beta)[2] == 0  # labeled, never predicted
    assert np.isnan(matrix.per_class_f_score(beta)[3])


def test_images_add_up_as_pixels_not_as_means() -> None:
    small, large, together = ConfusionMatrix(3, 255), ConfusionMatrix(3, 255), ConfusionMatrix(3, 255)
    zeros = np.zeros((10, 10), np.uint8)
    small.update(LABEL, PREDICTION)
    large.update(zeros, zeros)
    together.update(LABEL, PREDICTION)
    together.update(zeros, zeros)
    assert (together.counts == small.counts + large.counts).all()
    assert together.pixel_accuracy == 103 / 105


def test_a_batch_counts_like_its_images() -> None:
    one, batch = ConfusionMatrix(3, 255), ConfusionMatrix(3, 255)
    one.update(LABEL, PREDICTION)
    batch.update(np.stack([LABEL] * 3), np.stack([PREDICTION] * 3))
    assert (batch.counts == 3 * one.counts).all()


def test_a_prediction_where_the_label_is_ignored_may_be_anything() -> None:
    matrix = ConfusionMatrix(2, ignore_index=11)
    matrix.update(np.array([0, 11], np.uint8), np.array([0, 200], np.uint8))
    assert matrix.counts.sum() == 1


def test_an_ignored_id_below_the_class_count_is_ignored_in_labels_only() -> None:
    matrix = ConfusionMatrix(2, ignore_index=0)
    matrix.update(np.array([0, 1, 1], np.uint8), np.array([1, 0, 1], np.uint8))
    assert matrix.counts.tolist() == [[0, 0], [1, 1]]


def test_large_counts_do_not_overflow() -> None:
    matrix = ConfusionMatrix(256)
    matrix.update(np.full(70_000, 255, np.uint8), np.full(70_000, 255, np.uint8))
    assert matrix.counts[255, 255] == 70_000
    assert matrix.mean_iou == 1.0


def test_without_pixels_every_score_is_nan() -> None:
    matrix = ConfusionMatrix(2, 255)
    matrix.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    means = (matrix.mean_iou, matrix.mean_pixel_accuracy, matrix.mean_precision, matrix.frequency_weighted_iou)
    assert np.isnan([*means, matrix.pixel_accuracy, *matrix.per_class_iou]).all()


@pytest.mark.parametrize(
    ("label", "prediction", "said"),
    [
        ([[0, 1]], [0, 1], r"label is \(1, 2\) and prediction is \(2,\)"),
        ([0, 5], [0, 1], r"label has id 5, but there are 3 classes \(0 to 2\) and ignore_index is 255"),
        ([0, 1], [0, 3], "prediction has id 3"),
        ([0, -1], [0, 1], "label has id -1"),
    ],
)
def test_bad_ids_and_shapes_are_named(label: list[int], prediction: list[int], said: str) -> None:
    matrix = ConfusionMatrix(3, 255)
    with pytest.raises(InputError, match=said):
        matrix.update(np.array(label), np.array(prediction))
    assert matrix.counts.sum() == 0


def test_agreement_is_the_share_of_equal_pixels() -> None:
    assert argmax_agreement(np.array([[0, 1], [2, 3]]), np.array([[0, 1], [2, 0]])) == 0.75
    with pytest.raises(InputError, match=r"\(2,\) and \(3,\)"):
        argmax_agreement(np.zeros(2, np.uint8), np.zeros(3, np.uint8))
