"""``names``: labels that are not called like their images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import DataSource, open_split
from edgeseg.datasets.check import check
from edgeseg.datasets.names import matched
from edgeseg.errors import InputError


@pytest.mark.parametrize(
    ("images", "labels", "first"),
    [
        (["x0", "x1"], ["x0_mask", "x1_mask"], "x0"),
        (["x0", "x1", "x2"], ["x0_mask", "x1_mask"], "x0"),  # x2 has no label, which is reported of it alone
        (["1", "10"], ["1-gt", "10-gt"], "1"),
        (["0016E5_1", "0016E5_2"], ["0016E5_1_L", "0016E5_2_L"], "0016E5_1"),
        (["a_1_leftImg8bit", "b_1_leftImg8bit"], ["a_1_gtFine_labelIds", "b_1_gtFine_labelIds"], "a_1_leftImg8bit"),
        (["7_sat", "8_sat"], ["7_mask", "8_mask"], "7_sat"),
        (["x0", "x1"], ["mask_x0", "mask_x1"], "x0"),
    ],
)
def test_one_addition_to_all_names_is_seen_through(images: list[str], labels: list[str], first: str) -> None:
    image_of = matched(images, labels)
    assert image_of is not None
    assert image_of[labels[0]] == first
    assert len(set(image_of.values())) == len(labels)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["x0", "x1"], ["x0", "x1_mask"]),  # one has the image's own name
        (["x0", "x1"], ["x0_mask", "x1_seg"]),
        (["x0", "x1"], ["x0_mask", "x2_mask"]),
        (["1", "2"], ["10", "20"]),  # no separator
        (["x0"], []),
        ([], ["x0_mask"]),
    ],
)
def test_nothing_is_guessed(images: list[str], labels: list[str]) -> None:
    assert matched(images, labels) is None


def test_masks_by_other_names_open_or_name_the_list_that_pairs_them(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8), np.ones((4, 6), np.uint8))
    for path in sorted((root / "labels").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    source = DataSource(root=str(root), classes="a,b")
    assert open_split(source, "all")[1][1].all()
    (root / "labels" / "1_mask.png").rename(root / "labels" / "1_seg.png")
    with pytest.raises(
        InputError, match=r"0\.png' has no label in .*paired by a list: write '.*all\.txt' with a line"
    ) as caught:
        open_split(source, "all")
    assert "'images/NAME, labels/0_mask.png', and give `DataSource(layout='lists')`" in str(caught.value)
    (root / "all.txt").write_text("images/0.png, labels/0_mask.png\nimages/1.png, labels/1_seg.png\n")
    listed = DataSource(root=str(root), classes="a,b", layout="lists")
    assert open_split(listed, "all")[1][1].all()


def test_labels_of_another_kind_are_named(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8))
    shutil.rmtree(root / "labels")
    (root / "labels").mkdir()
    (root / "labels" / "0.npy").write_bytes(b"")
    (finding,) = check(DataSource(root=str(root), classes="a,b")).findings
    assert "has no label" in finding.text
    assert "It has files such as '0.npy'; labels are .bmp, .gif, " in finding.text
