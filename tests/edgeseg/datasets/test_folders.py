from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.datasets import open_folder, read_classes
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg.spec import default_palette


@pytest.fixture
def copy(shapes_dataset: Path, tmp_path: Path) -> Path:
    """The data set, to be damaged."""
    return Path(shutil.copytree(shapes_dataset, tmp_path / "data"))


def write_classes(folder: Path, data: Any) -> Path:
    path = folder / "classes.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("val", 4), ("test", 4)])
def test_every_split_opens_with_its_pairs_sorted(shapes_dataset: Path, split: str, count: int) -> None:
    data = open_folder(shapes_dataset, split)
    assert len(data) == len(data.pairs) == count
    assert [image.stem for image, _ in data.pairs] == [f"{index:02d}" for index in range(count)]
    assert all(image.stem == label.stem for image, label in data.pairs)
    assert data.classes.names == ("wall", "red", "blue")
    assert data.classes.ignore_index == 255


def test_a_pair_is_rgb_and_ids_of_one_size(shapes_dataset: Path) -> None:
    image, label = open_folder(str(shapes_dataset), "train")[3]
    assert (image.shape, image.dtype) == ((64, 80, 3), np.uint8)
    assert (label.shape, label.dtype) == ((64, 80), np.uint8)
    assert set(np.unique(label)) <= {0, 1, 2, 255}
    red, blue = image[label == 1].mean(0), image[label == 2].mean(0)
    assert red[0] > 150 > red[2]
    assert blue[2] > 150 > blue[0]


def test_a_pair_may_differ_in_suffix_and_other_files_are_left_out(copy: Path) -> None:
    images = copy / "val" / "images"
    image, _ = open_folder(copy, "val")[0]
    (images / "00.png").unlink()
    (images / "00.JPG").write_bytes(encode_image(image, ".jpg"))
    (images / "Thumbs.db").write_bytes(b"")
    (copy / "val" / "labels" / "unused.png").write_bytes(b"")
    data = open_folder(copy, "val")
    assert [path.name for path, _ in data.pairs] == ["00.JPG", "01.png", "02.png", "03.png"]


def test_an_id_that_is_no_class_is_named(copy: Path) -> None:
    label = open_folder(copy, "val")[1][1]
    label[5, 5] = 3
    (copy / "val" / "labels" / "01.png").write_bytes(encode_image(label))
    with pytest.raises(
        InputError, match=r"01\.png' has the id 3, but classes\.json has 3 classes and ignore_index 255"
    ):
        open_folder(copy, "val")[1]


def test_without_an_ignored_id_255_is_no_class(copy: Path) -> None:
    write_classes(copy, {"names": ["wall", "red", "blue"]})
    with pytest.raises(InputError, match=r"has the id 255.*ignore_index None"):
        open_folder(copy, "val")[0]


def test_a_label_of_another_size_is_named(copy: Path) -> None:
    (copy / "val" / "labels" / "02.png").write_bytes(encode_image(np.zeros((64, 79), np.uint8)))
    with pytest.raises(InputError, match=r"02\.png' is \(64, 80\) but its label .* is \(64, 79\)"):
        open_folder(copy, "val")[2]


def test_a_missing_label_is_named(copy: Path) -> None:
    (copy / "train" / "labels" / "07.png").unlink()
    with pytest.raises(InputError, match=r"07\.png' has no label in"):
        open_folder(copy, "train")


def test_a_missing_split_names_those_there_are(copy: Path) -> None:
    with pytest.raises(InputError, match=r"dev.images' does not exist; splits found in .*: test, train, val"):
        open_folder(copy, "dev")
    shutil.rmtree(copy / "val" / "labels")
    with pytest.raises(InputError, match=r"val.labels' does not exist"):
        open_folder(copy, "val")


def test_a_split_without_pictures_is_an_input_error(copy: Path) -> None:
    for image in (copy / "test" / "images").iterdir():
        image.unlink()
    with pytest.raises(InputError, match="has no pictures"):
        open_folder(copy, "test")


def test_a_missing_folder_or_table_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone' does not exist"):
        open_folder(tmp_path / "gone", "train")
    with pytest.raises(InputError, match=r"classes\.json' cannot be read: .*needs a classes\.json"):
        open_folder(tmp_path, "train")


def test_only_the_names_are_required(tmp_path: Path) -> None:
    classes = read_classes(write_classes(tmp_path, {"names": ["a", "b"]}))
    assert classes.palette == default_palette(2)
    assert classes.ignore_index is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "null",
        {},
        {"names": []},
        {"names": None},
        {"names": 3},
        {"names": "abc"},
        {"names": ["a", "a"]},
        {"names": [str(n) for n in range(257)]},
        {"names": ["a"], "palette": [[0, 0]]},
        {"names": ["a"], "palette": [0]},
        {"names": ["a"], "palette": [[0, 0, 256]]},
        {"names": ["a"], "palette": [[0, 0, -1]]},
        {"names": ["a"], "palette": [[0, 0, 0], [1, 1, 1]]},
        {"names": ["a"], "ignore_index": "void"},
        {"names": ["a"], "ignore_index": [255]},
        {"names": ["a"], "ignore_index": 256},
        {"names": ["a"], "ignore_index": -1},
    ],
)
def test_a_damaged_table_is_an_input_error_that_names_the_file(tmp_path: Path, data: Any) -> None:
    with pytest.raises(InputError, match=r"classes\.json"):
        read_classes(write_classes(tmp_path, data))


def test_a_table_that_is_not_utf8_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_bytes(b'{"names": ["stra\xdfe"]}')
    with pytest.raises(InputError, match=r"classes\.json"):
        read_classes(tmp_path / "classes.json")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_camvid_opens(camvid: Path, split: str) -> None:
    data = open_folder(camvid, split)
    assert len(data.classes.names) == 11
    image, label = data[len(data) // 2]
    assert image.shape[:2] == label.shape
    assert set(np.unique(label)) <= set(range(12))  # 11 is the ignored one
