from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.datasets import open_split
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image


def write_classes(folder: Path, data: Any) -> Path:
    path = folder / "classes.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("val", 4), ("test", 4)])
def test_every_split_opens_with_its_pairs_sorted(shapes_dataset: Path, split: str, count: int) -> None:
    data = open_split(shapes_dataset, split)
    assert len(data) == len(data.pairs) == count
    assert [image.stem for image, _ in data.pairs] == [f"{index:02d}" for index in range(count)]
    assert all(image.stem == label.stem for image, label in data.pairs)
    assert data.classes.names == ("wall", "red", "blue")
    assert data.classes.ignore_index == 255


def test_a_pair_is_rgb_and_ids_of_one_size(shapes_dataset: Path) -> None:
    image, label = open_split(str(shapes_dataset), "train")[3]
    assert (image.shape, image.dtype) == ((64, 80, 3), np.uint8)
    assert (label.shape, label.dtype) == ((64, 80), np.uint8)
    assert set(np.unique(label)) <= {0, 1, 2, 255}
    red, blue = image[label == 1].mean(0), image[label == 2].mean(0)
    assert red[0] > 150 > red[2]
    assert blue[2] > 150 > blue[0]


def test_a_pair_may_differ_in_suffix_and_other_files_are_left_out(copy: Path) -> None:
    images = copy / "val" / "images"
    image, _ = open_split(copy, "val")[0]
    (images / "00.png").unlink()
    (images / "00.JPG").write_bytes(encode_image(image, ".jpg"))
    (images / "Thumbs.db").write_bytes(b"")
    (copy / "val" / "labels" / "unused.png").write_bytes(b"")
    data = open_split(copy, "val")
    assert [path.name for path, _ in data.pairs] == ["00.JPG", "01.png", "02.png", "03.png"]


def test_an_id_that_is_no_class_is_named(copy: Path) -> None:
    label = open_split(copy, "val")[1][1]
    label[5, 5] = 3
    (copy / "val" / "labels" / "01.png").write_bytes(encode_image(label))
    with pytest.raises(
        InputError,
        match=r"01\.png' has ids that are no class: 3 \(1 pixel\); there are 3 classes and the ignored id 255",
    ):
        open_split(copy, "val")[1]


def test_without_an_ignored_id_255_is_no_class(copy: Path) -> None:
    write_classes(copy, {"names": ["wall", "red", "blue"]})
    with pytest.raises(
        InputError, match=r"no class: 255 \(160 pixels\).*3 classes and no ignored id\. .* give `ignore_index=255`"
    ):
        open_split(copy, "val")[0]


def test_a_label_of_another_size_is_named(copy: Path) -> None:
    (copy / "val" / "labels" / "02.png").write_bytes(encode_image(np.zeros((64, 79), np.uint8)))
    with pytest.raises(InputError, match=r"02\.png' is \(64, 80\) but its label .* is \(64, 79\)"):
        open_split(copy, "val")[2]


def test_a_missing_label_is_named(copy: Path) -> None:
    (copy / "train" / "labels" / "07.png").unlink()
    with pytest.raises(InputError, match=r"07\.png' has no label in"):
        open_split(copy, "train")


def test_a_missing_split_names_those_there_are(copy: Path) -> None:
    with pytest.raises(InputError, match=r"dev.images' does not exist; splits found in .*: train, val, test"):
        open_split(copy, "dev")
    shutil.rmtree(copy / "val" / "labels")
    with pytest.raises(InputError, match=r"val.labels' does not exist"):
        open_split(copy, "val")


def test_a_split_without_images_is_an_input_error(copy: Path) -> None:
    for image in (copy / "test" / "images").iterdir():
        image.unlink()
    with pytest.raises(InputError, match="has no images"):
        open_split(copy, "test")


def test_a_missing_folder_or_table_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone' does not exist"):
        open_split(tmp_path / "gone", "train")
    with pytest.raises(InputError, match=r"is not a labeled data set; looked for"):
        open_split(tmp_path, "train")
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "labels").mkdir()
    with pytest.raises(InputError, match=r"classes\.json' cannot be read: .*needs a classes\.json; or give `classes="):
        open_split(tmp_path, "train")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_camvid_opens(camvid: Path, split: str) -> None:
    data = open_split(camvid, split)
    assert len(data.classes.names) == 11
    image, label = data[len(data) // 2]
    assert image.shape[:2] == label.shape
    assert set(np.unique(label)) <= set(range(12))  # 11 is the ignored one
