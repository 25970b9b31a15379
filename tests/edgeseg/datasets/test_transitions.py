"""``transitions``: ids that interpolation or JPEG put between classes are found, thin classes that were drawn are not.

The scenes are drawn disks, with poles or membranes; what is right of them is known as nothing was done to them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeseg.datasets import DataSource
from edgeseg.datasets.check import check
from edgeseg.datasets.transitions import Transitions, transitions

Labels = list[NDArray[np.uint8]]


def scenes(num_classes: int, *, pole: int | None = None, membrane: tuple[int, int, int] | None = None) -> Labels:
    """Four labels of 96x128: disks of every class; poles of one class; or cells of ``(class, membrane, width)``."""
    rng = np.random.default_rng(num_classes)
    labels = []
    for _ in range(4):
        label = np.zeros((96, 128), np.uint8)
        for _ in range(10):
            center, radius = (int(rng.integers(128)), int(rng.integers(96))), int(rng.integers(6, 25))
            if membrane is None:
                cv2.circle(label, center, radius, int(rng.integers(1, num_classes)), -1)
            else:
                cv2.circle(label, center, radius, membrane[0], -1)
                cv2.circle(label, center, radius, membrane[1], membrane[2])
        for _ in range(0 if pole is None else 8):
            x = int(rng.integers(128))
            cv2.line(label, (x, 0), (x + int(rng.integers(-5, 5)), 96), pole or 0, int(rng.integers(1, 3)))
        labels.append(label)
    return labels


def joined(labels: Labels, ignore_index: int | None = None) -> Transitions:
    total = Transitions()
    for label in labels:
        total.add(transitions(label, ignore_index))
    return total


def resized(labels: Labels, factor: float, interpolation: int) -> Labels:
    return [cv2.resize(x, None, fx=factor, fy=factor, interpolation=interpolation) for x in labels]  # type: ignore[misc]


def as_jpeg(labels: Labels, quality: int, num_classes: int) -> Labels:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    read = [cv2.imdecode(cv2.imencode(".jpg", label, options)[1], cv2.IMREAD_GRAYSCALE) for label in labels]
    return [np.minimum(label, num_classes - 1).astype(np.uint8) for label in read]  # type: ignore[type-var]


@pytest.mark.parametrize("num_classes", [3, 6, 20])
def test_interpolation_and_jpeg_are_found_and_nearest_neighbor_is_not(num_classes: int) -> None:
    labels = scenes(num_classes)
    assert joined(labels).interpolated() is None
    assert joined(resized(labels, 1.5, cv2.INTER_NEAREST)).interpolated() is None
    linear = [(factor, cv2.INTER_LINEAR) for factor in (0.7, 2, 8)]
    for factor, interpolation in [(0.6, cv2.INTER_AREA), (1.5, cv2.INTER_CUBIC), *linear]:
        found = joined(resized(labels, factor, interpolation)).interpolated()
        assert found is not None, (factor, interpolation)
        low, high, middle = found
        assert low < middle < high < num_classes
    for quality in (75, 95):
        assert joined(as_jpeg(labels, quality, num_classes)).interpolated() is not None


@pytest.mark.parametrize(
    "labels",
    [
        scenes(3, pole=1),
        scenes(3, pole=2),
        scenes(12, pole=6),
        scenes(3, membrane=(2, 1, 1)),
        scenes(3, membrane=(2, 1, 3)),
        scenes(3, membrane=(1, 2, 1)),
        scenes(5, membrane=(4, 2, 1)),
        # Bands of height, which touch their neighbors alone: wide ones, as one draws them.
        [np.repeat(np.arange(6, dtype=np.uint8), 16)[:, None].repeat(64, axis=1)] * 4,
        [np.zeros((8, 8), np.uint8)],
        [np.zeros((1, 1), np.uint8)],
    ],
    ids=["thin 1", "thin 2", "thin 6", "membrane", "thick membrane", "outline", "membrane 2", "bands", "one", "pixel"],
)
def test_thin_classes_that_were_drawn_are_no_finding(labels: Labels) -> None:
    assert joined(labels).interpolated() is None


def test_counts_are_of_rows_and_columns_without_the_ignored_id() -> None:
    label = np.array([[0, 0, 2, 5, 5, 1, 255, 4]] * 2, np.uint8)
    counted = transitions(label, 255)
    assert counted.between == {(0, 5, 2): 2}
    assert counted.chains == {(0, 5): 2}
    assert counted.direct == {(1, 5): 2}
    assert (counted.pixels[0,], counted.pixels[2,]) == (4, 2)
    assert counted.share == 0.5


def test_an_edge_that_is_ignored_hides_nothing_and_adds_nothing() -> None:
    labels = scenes(6)
    outlined = [np.where(cv2.Laplacian(label, cv2.CV_16S) != 0, 255, label).astype(np.uint8) for label in labels]
    assert joined(outlined, 255).interpolated() is None


def test_the_check_says_it_once_with_the_count_and_a_file(gray: Callable[..., Path]) -> None:
    labels = resized(scenes(6), 1.5, cv2.INTER_LINEAR)
    good = scenes(6)[0]
    result = check(DataSource(root=str(gray(*labels, good)), classes="a,b,c,d,e,f"))
    (warning,) = result.warnings
    assert not result.errors
    assert warning.kind == "interpolated"
    assert warning.text.startswith("4 of 5 labels have thin lines of other classes between two, such as '")
    assert Path(warning.path).name in ("0.png", "1.png", "2.png", "3.png")
    assert warning.path in warning.text


def test_a_lossy_format_is_said_once_except_of_masks(gray: Callable[..., Path]) -> None:
    root = gray(*(label // 2 * 2 for label in scenes(3)))
    for path in sorted((root / "labels").iterdir()):
        flat = np.full((96, 128), int(path.stem) % 3, np.uint8)  # which a JPEG keeps
        Image.fromarray(flat).save(path.with_suffix(".jpg"))
        path.unlink()
    (warning,) = check(DataSource(root=str(root), classes="a,b,c")).warnings
    assert warning.kind == "lossy_format"
    assert warning.text.startswith("4 of 4 labels are in a lossy format, such as '")
    masks = DataSource(root=str(root), classes="a,b", label_encoding="binary")
    assert [finding.kind for finding in check(masks).findings] == ["class_never_occurs"]


def test_camvid_has_thin_classes_and_no_such_finding(camvid: Path) -> None:
    labels = [
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((camvid / "val" / "labels").iterdir())[:20]
    ]
    assert joined(labels, 11).interpolated() is None  # type: ignore[arg-type]
    assert joined(resized(labels, 0.5, cv2.INTER_LINEAR), 11).interpolated() is not None  # type: ignore[arg-type]
