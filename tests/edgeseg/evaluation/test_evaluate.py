"""``evaluate``, and ``edgeseg._internal.progress`` as it tells how far it is: scores at the labels' own size."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import LabeledSplit, open_split
from edgeseg.errors import InputError
from edgeseg.evaluation.evaluate import evaluate
from edgeseg.imaging import encode_image
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec

_SHAPES = ("wall", "red", "blue")


@pytest.fixture
def data(tmp_path: Path) -> LabeledSplit:
    """Two images of 2x4 whose labels are in the test below; id 9 is ignored."""
    (tmp_path / "classes.json").write_text(json.dumps({"names": ["a", "b", "c", "d"], "ignore_index": 9}))
    labels = {"p": [[0, 0, 1, 1], [0, 0, 1, 9]], "q": [[0, 1, 1, 1], [2, 2, 9, 9]]}
    for folder in ("images", "labels"):
        (tmp_path / "test" / folder).mkdir(parents=True)
    for name, label in labels.items():
        (tmp_path / "test" / "images" / f"{name}.png").write_bytes(encode_image(np.zeros((2, 4, 3), np.uint8)))
        (tmp_path / "test" / "labels" / f"{name}.png").write_bytes(encode_image(np.array(label, np.uint8)))
    return open_split(tmp_path, "test")


def null_segmenter(num_classes: int = 4) -> Segmenter:
    """Answers class 0 in the left half and class 1 in the right, whatever the image."""
    names = tuple("abcdefgh"[:num_classes])
    spec = ModelSpec(
        name="null", input_size=(4, 8), class_names=names, palette=((0, 0, 0),) * num_classes, output_kind="argmax"
    )
    return Segmenter(NullBackend(spec, np.repeat([[0, 1]], 4, axis=1).repeat(4, axis=0).astype(np.uint8)[None]))


def test_scores_by_hand(data: LabeledSplit) -> None:
    result = evaluate(null_segmenter(), data)
    # Counted: 7 pixels of p, all right, and 6 of q: 0 -> 0, 1 -> 0, 1 -> 1, 1 -> 1, 2 -> 0, 2 -> 0.
    # a: 5 hits, 5 labeled, 8 predicted. b: 5 hits, 6 labeled, 5 predicted. c: 0 of 2. d: nowhere.
    assert result.num_images == 2
    assert result.pixel_accuracy == 10 / 13
    assert result.mean_iou == pytest.approx((5 / 8 + 5 / 6 + 0) / 3)
    assert [result.per_class_iou[name] for name in "abc"] == [5 / 8, 5 / 6, 0.0]
    assert math.isnan(result.per_class_iou["d"])


def test_a_right_model_scores_one(shapes_dataset: Path) -> None:
    data = open_split(shapes_dataset, "test")
    spec = ModelSpec(
        name="oracle",
        input_size=(64, 80),
        class_names=data.classes.names,
        palette=data.classes.palette,
        output_kind="argmax",
    )

    class Oracle(NullBackend):
        """Tells the class by the brightest channel, as the images were painted."""

        def run(self, image: np.ndarray) -> np.ndarray:
            red, _, blue = np.moveaxis(image, -1, 0)
            return np.where(red > 0, 1, np.where(blue > 0, 2, 0)).astype(np.uint8)

    result = evaluate(Segmenter(Oracle(spec, np.zeros((1, 64, 80), np.uint8))), data)
    assert result.num_images == 4
    assert set(result.means.values()) == {1.0}
    assert result.per_class == dict.fromkeys(("iou", "precision", "recall", "f_score"), dict.fromkeys(_SHAPES, 1.0))


def test_another_class_count_is_refused_before_a_image_is_read(data: LabeledSplit) -> None:
    segmenter = null_segmenter(3)
    with pytest.raises(InputError, match="the model has 3 classes, the data has 4"):
        evaluate(segmenter, data)
    assert isinstance(segmenter.backend, NullBackend)
    assert segmenter.backend.seen is None


def test_a_broken_label_is_an_input_error(data: LabeledSplit) -> None:
    data.pairs[1][1].write_bytes(b"")
    with pytest.raises(InputError, match=r"q\.png"):
        evaluate(null_segmenter(), data)


def test_progress_counts_the_images(data: LabeledSplit) -> None:
    calls: list[tuple[int, int]] = []
    evaluate(null_segmenter(), data, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def test_the_json_object_has_null_for_nan(data: LabeledSplit) -> None:
    found = json.loads(json.dumps(evaluate(null_segmenter(), data).to_dict(), allow_nan=False))
    # Of edgeseg 0.1: they keep their names.
    assert {"num_images", "mean_iou", "pixel_accuracy", "per_class_iou"} <= set(found)
    assert found["per_class_iou"] == {"a": 5 / 8, "b": 5 / 6, "c": 0.0, "d": None}
    assert found["per_class_precision"] == {"a": 5 / 8, "b": 1.0, "c": None, "d": None}
    assert found["per_class_recall"] == {"a": 1.0, "b": 5 / 6, "c": 0.0, "d": None}
    assert found["mean_pixel_accuracy"] == found["mean_recall"] == pytest.approx((1 + 5 / 6 + 0) / 3)
    assert found["mean_precision"] == pytest.approx((5 / 8 + 1) / 2)
    assert found["frequency_weighted_iou"] == pytest.approx((5 * 5 / 8 + 6 * 5 / 6 + 2 * 0) / 13)
    assert found["class_names"] == ["a", "b", "c", "d"]
    assert found["confusion_matrix"] == [[5, 0, 0, 0], [1, 5, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]


def test_a_split_of_ignored_pixels_is_valid_json_too(data: LabeledSplit) -> None:
    for _, label in data.pairs:
        label.write_bytes(encode_image(np.full((2, 4), 9, np.uint8)))
    result = evaluate(null_segmenter(), data)
    assert math.isnan(result.pixel_accuracy)
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["pixel_accuracy"] is None


def test_classes_in_another_order_are_said(data: LabeledSplit, caplog: pytest.LogCaptureFixture) -> None:
    evaluate(null_segmenter(), data)
    assert not caplog.records
    other = LabeledSplit(dataclasses.replace(data.classes, names=("b", "a", "c", "d")), data.pairs)
    evaluate(null_segmenter(), other)
    assert "the model's classes are a, b, c, d, the data's are b, a, c, d" in caplog.text


def test_what_enlarged_scores_are_worth(tmp_path: Path) -> None:
    """A model of 1x2 pixels whose second class begins at a quarter, which nearest neighbor puts in the middle."""
    for folder in ("images", "labels"):
        (tmp_path / "test" / folder).mkdir(parents=True)
    (tmp_path / "classes.json").write_text(json.dumps({"names": ["a", "b"]}))
    label = np.repeat(np.repeat([[0, 1]], [3, 5], axis=1), 4, axis=0).astype(np.uint8)
    (tmp_path / "test" / "images" / "p.png").write_bytes(encode_image(np.zeros((4, 8, 3), np.uint8)))
    (tmp_path / "test" / "labels" / "p.png").write_bytes(encode_image(label))
    spec = ModelSpec(name="m", input_size=(1, 2), class_names=("a", "b"), palette=((0, 0, 0),) * 2)
    # From -1 in the middle of the left pixel (x = 1.5) to 3 in that of the right one (5.5): 0 at x = 2.5.
    scores = np.float32([[[[1, 0], [0, 3]]]])
    result = evaluate(Segmenter(NullBackend(spec, scores)), open_split(tmp_path, "test"))
    assert result.nearest is not None
    assert result.mean_iou == 1.0
    assert result.nearest.mean_iou == result.to_dict()["mean_iou_nearest"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_class_ids_have_no_scores_to_enlarge(data: LabeledSplit) -> None:
    result = evaluate(null_segmenter(), data)
    assert result.nearest is None
    assert "mean_iou_nearest" not in result.to_dict()
