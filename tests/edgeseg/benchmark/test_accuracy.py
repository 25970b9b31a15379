from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseg.benchmark.accuracy import read_mean_iou
from edgeseg.errors import InputError


def test_accuracies_of_all_three_kinds_of_file(tmp_path: Path) -> None:
    kinds = {
        "one": {"artifact": "m.int8.onnx", "mean_iou": 0.5, "num_images": 3},
        "list": [{"artifact": "dir/a.tflite", "mean_iou": 0.4}, {"artifact": "b.tflite", "mean_iou": None}],
        "report": {
            "model": "m",
            "artifacts": [
                {"format": "tflite", "precision": "fp32", "accuracy": None},
                {"format": "tflite", "precision": "int8", "accuracy": {"mean_iou": 0.61, "mean_iou_float": 0.63}},
            ],
        },
    }
    found = {}
    for name, content in kinds.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        found[name] = read_mean_iou(tmp_path / f"{name}.json")
    assert found == {
        "one": {"m.int8.onnx": 0.5},
        "list": {"a.tflite": 0.4},
        "report": {"m.int8.tflite": 0.61, "m.fp32.tflite": 0.63},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "none of the files with a mIoU"),
        ('{"mean_iou": 0.5}', "none of the files with a mIoU"),
        ("3", "none of the files with a mIoU"),
        ('{"artifact": "m", "mean_iou": null}', "has no mIoU in it"),
        ('{"artifact": "m", "mean_iou": 61}', "'mean_iou' is 61; accepted: number <= 1.0"),
    ],
)
def test_a_file_without_accuracy(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mean_iou(tmp_path / "a.json")


def test_a_file_that_is_altered_anywhere_is_read_or_refused(
    tmp_path: Path, read_altered: Callable[..., tuple[int, int]]
) -> None:
    path = tmp_path / "a.json"

    def read(text: str) -> None:
        path.write_text(text)
        assert all(0 <= value <= 1 for value in read_mean_iou(path).values())

    one = {"artifact": "a", "mean_iou": 0.5}
    scores = {"mean_iou": 0.61, "mean_iou_float": 0.63}
    report = {"model": "m", "artifacts": [{"format": "tflite", "precision": "int8", "accuracy": scores}]}
    for value in (one, [one, one], report):
        accepted, refused = read_altered(read, value)
        assert refused > accepted > 0
