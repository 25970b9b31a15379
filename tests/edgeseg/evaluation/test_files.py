from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.evaluation import files as evaluation_files
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.evaluation.evaluate import EvaluationResult
from edgeseg.evaluation.files import save_evaluation
from edgeseg.imaging import read_image


def result(counts: list[list[int]], names: tuple[str, ...]) -> EvaluationResult:
    matrix = ConfusionMatrix(len(names), 255)
    matrix.counts = np.array(counts)
    return EvaluationResult(1, names, matrix)


ONE = result([[6, 2, 0], [1, 3, 0], [0, 0, 0]], ("a, b", "$c$", "nowhere"))


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_tables_have_the_counts_and_the_scores(tmp_path: Path) -> None:
    matrix, _, per_class = save_evaluation(ONE, tmp_path / "new" / "folder")
    assert rows(matrix) == [
        ["label \\ prediction", "a, b", "$c$", "nowhere"],
        ["a, b", "6", "2", "0"],
        ["$c$", "1", "3", "0"],
        ["nowhere", "0", "0", "0"],
    ]
    head, first, _, last = rows(per_class)
    assert head == ["class", "iou", "precision", "recall", "f_score", "label_pixels", "predicted_pixels"]
    assert first[0] == "a, b"
    assert [float(value) for value in first[1:5]] == pytest.approx([6 / 9, 6 / 7, 6 / 8, 12 / 15], abs=1e-6)
    assert first[5:] == ["8", "7"]
    assert last == ["nowhere", "", "", "", "", "0", "0"]


def test_names_with_line_ends_and_bytes_that_are_no_text_are_written(tmp_path: Path) -> None:
    hostile = result([[6, 2], [1, 3]], ("two\nlines", "\x1b[31m"))
    matrix, image, _ = save_evaluation(hostile, tmp_path, title="z\udcfcrich\n.keras")
    assert rows(matrix)[0] == ["label \\ prediction", "two\nlines", "\x1b[31m"]
    assert read_image(image).ndim == 3


@pytest.mark.parametrize("num_classes", [2, 30])
def test_the_image_has_labels_from_the_top_and_predictions_from_the_left(tmp_path: Path, num_classes: int) -> None:
    """The darkest cells run downwards for a model that is right, upwards for one that has all classes reversed."""
    names = tuple(f"class {index}" for index in range(num_classes))
    slopes = []
    for turn, counts in enumerate((np.eye(num_classes), np.eye(num_classes)[:, ::-1])):
        made = result((counts * 50).astype(int).tolist(), names)
        _, path, _ = save_evaluation(made, tmp_path / str(turn), title="a model on data/test")
        image = read_image(path)
        rows_columns = np.argwhere((image == (8, 48, 107)).all(-1))  # the end of matplotlib's Blues
        cells = rows_columns[rows_columns[:, 1] < 0.8 * image.shape[1]]  # and not of the color bar
        assert len(cells) > 50 * num_classes
        slopes.append(np.corrcoef(cells.T)[0, 1])
    # Whole cells, of which two are half of all: 0.75 there, near 1 with many.
    assert slopes[0] > 0.7
    assert slopes[1] < -0.7


def test_files_are_kept_unless_they_may_be_replaced(tmp_path: Path) -> None:
    save_evaluation(ONE, tmp_path)
    with pytest.raises(InputError, match=r"confusion_matrix\.csv' exists; give `overwrite=True`"):
        save_evaluation(ONE, tmp_path)
    save_evaluation(ONE, tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(evaluation_files.NAMES)


def test_without_matplotlib_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_files, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r'pip install "edgeseg\[charts\]"'):
        save_evaluation(ONE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_scores_as_a_table() -> None:
    table = ONE._repr_html_()
    assert "<th>a, b</th><td>0.667</td>" in table  # 6 of 6 + 2 + 1 pixels
    assert "<th>nowhere</th><td>-</td>" in table
    assert "<th>images</th><td>1</td>" in table
