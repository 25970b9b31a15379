from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import DataSource, is_labeled, open_split
from edgeseg.datasets.layouts import find_layout, natural_order
from edgeseg.datasets.splitting import split
from edgeseg.errors import InputError

CLASSES = "wall,red,blue"


@pytest.mark.parametrize("inside", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_voc_is_found_at_any_height_and_read_by_its_lists(voc_dataset: Path, shapes_dataset: Path, inside: str) -> None:
    source = DataSource(root=str(voc_dataset / inside), classes=CLASSES)
    assert find_layout(voc_dataset / inside).splits == ("train", "val", "trainval")
    data = open_split(source, "val")
    assert [image.name for image, _ in data.pairs] == ["04.jpg", "05.jpg"]
    assert (data.label_encoding, data.classes.ignore_index) == ("ids", 255)
    (_, label), (_, original) = data[1], open_split(shapes_dataset, "train")[5]
    assert (label == original).all()
    assert len(open_split(source, "trainval")) == 6


def test_voc_without_lists_has_the_images_that_have_masks(voc_dataset: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(voc_dataset / "VOCdevkit" / "VOC2007", tmp_path / "VOC2012"))
    shutil.rmtree(base / "ImageSets")
    (base / "SegmentationClass" / "00.png").unlink()
    source = DataSource(root=str(tmp_path), classes=CLASSES)
    assert len(open_split(source, "all")) == 5
    with pytest.raises(InputError, match="has no splits: make them with edgeseg data split"):
        open_split(source, "train")


def test_a_name_in_a_voc_list_without_files_is_named(voc_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(voc_dataset, tmp_path / "voc"))
    base = root / "VOCdevkit" / "VOC2007"
    (base / "JPEGImages" / "02.jpg").unlink()
    with pytest.raises(InputError, match=r"train\.txt': '02' is not in '.*JPEGImages'"):
        open_split(DataSource(root=str(root), classes=CLASSES), "train")
    shutil.copytree(base, root / "VOCdevkit" / "VOC2012")
    with pytest.raises(InputError, match=r"several VOC data sets: .*VOC2007, .*VOC2012; give one"):
        open_split(DataSource(root=str(root), classes=CLASSES), "val")


def test_two_files_of_one_name_are_refused_where_they_are_listed(voc_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(voc_dataset, tmp_path / "voc"))
    base = root / "VOCdevkit" / "VOC2007"
    source = DataSource(root=str(root), classes=CLASSES)
    shutil.copy(base / "JPEGImages" / "04.jpg", base / "JPEGImages" / "04.jpeg")
    shutil.copy(base / "SegmentationClass" / "00.png", base / "SegmentationClass" / "00.bmp")
    with pytest.raises(InputError, match=r"04\.jpeg' and '.*04\.jpg' have the same name but for the suffix: keep"):
        open_split(source, "val")
    with pytest.raises(InputError, match=r"00\.bmp' and '.*00\.png' have the same name"):
        open_split(source, "train")
    (base / "SegmentationClass" / "00.bmp").unlink()
    assert len(open_split(source, "train")) == 4  # 04 is none of its business
    shutil.rmtree(base / "ImageSets")
    with pytest.raises(InputError, match=r"04\.jpeg' and '.*04\.jpg' have the same name"):
        open_split(source, "all")


def test_two_files_of_one_name_are_refused_in_folders(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8), np.ones((4, 6), np.uint8))
    source = DataSource(root=str(root), classes="a,b")
    for folder in ("labels", "images"):
        other = Path(shutil.copy(root / folder / "1.png", root / folder / "1.bmp"))
        with pytest.raises(InputError, match=rf"{folder}/1\.bmp' and '.*{folder}/1\.png' have the same name"):
            open_split(source, "all")
        with pytest.raises(InputError, match="have the same name"):
            split(source, root.parent / "lists", val=0.5, test=0)
        other.unlink()
    assert len(open_split(source, "all")) == 2


def test_the_advised_command_can_be_pasted(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8), name="my data")
    with pytest.raises(InputError, match=r"edgeseg data split '.*my data' --classes a,b --val 0\.1"):
        open_split(DataSource(root=str(root), classes="a,b"), "train")


def test_classes_must_be_said_where_there_is_no_table(voc_dataset: Path) -> None:
    with pytest.raises(InputError, match=r"needs a classes\.json; or give `classes='a,b,c'`, .* or one of voc, "):
        open_split(voc_dataset, "train")


def test_a_flat_set_has_one_split(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8), np.ones((4, 6), np.uint8))
    data = open_split(DataSource(root=str(root), classes="a,b"), "all")
    assert [image.stem for image, _ in data.pairs] == ["0", "1"]
    assert data[1][1].all()


@pytest.mark.parametrize("mark", ["\t", ";", ",", " ", " , "])
def test_lists_have_pairs_with_any_of_the_usual_marks(gray: Callable[..., Path], tmp_path: Path, mark: str) -> None:
    gray(np.zeros((4, 6), np.uint8), np.ones((4, 6), np.uint8))
    lists = tmp_path / "lists"
    lists.mkdir()
    for name, index in (("train", 0), ("val", 1)):
        line = mark.join([f"../flat/images/{index}.png", f"../flat/labels/{index}.png"])
        (lists / f"{name}.txt").write_text(f"# image, label\n\n{line}\n")
    data = open_split(DataSource(root=str(lists), classes="a,b"), "val")
    assert len(data) == 1
    assert data[0][1].all()


def test_a_line_that_is_no_pair_and_a_file_that_is_not_there_are_named(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8))
    source = DataSource(root=str(root), classes="a,b", layout="lists")
    (root / "train.txt").write_text("images/0.png labels/0.png\nimages/0.png\n")
    with pytest.raises(InputError, match=r"train\.txt' line 2, 'images/0\.png', is not an image and its label"):
        open_split(source, "train")
    (root / "train.txt").write_text("images/0.png labels/7.png\n")
    with pytest.raises(InputError, match=r"7\.png' does not exist; '.*train\.txt' line 1 asks for it"):
        open_split(source, "train")


def test_a_folder_of_two_layouts_asks_which(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8))
    (root / "train.txt").write_text("images/0.png labels/0.png\n")
    with pytest.raises(
        InputError, match=r"several layouts: flat, lists; say which one with `DataSource\(layout=\.\.\.\)`"
    ):
        open_split(DataSource(root=str(root), classes="a,b"), "all")
    assert len(open_split(DataSource(root=str(root), layout="flat", classes="a,b"), "all")) == 1
    with pytest.raises(InputError, match="is not of layout 'voc'"):
        open_split(DataSource(root=str(root), layout="voc", classes="a,b"), "all")
    with pytest.raises(InputError, match=r"train\.txt' is a file; give the folder"):
        open_split(root / "train.txt", "train")


def test_names_of_folders_and_splits_may_be_in_any_letters(
    voc_dataset: Path, shapes_dataset: Path, tmp_path: Path
) -> None:
    """VOC's, those of splits, and the tutorials' Images and Labels with VOC's lists of names."""
    voc = Path(shutil.copytree(voc_dataset, tmp_path / "voc"))
    base = (voc / "VOCdevkit").rename(voc / "vocdevkit") / "VOC2007"
    lists = (base / "ImageSets").rename(base / "imagesets") / "Segmentation"
    lists.rename(lists.parent / "segmentation")
    (lists.parent / "segmentation" / "val.txt").rename(lists.parent / "segmentation" / "Val.txt")
    (base / "JPEGImages").rename(base / "jpegimages")
    assert len(open_split(DataSource(root=str(voc), classes=CLASSES), "val")) == 2

    folders = Path(shutil.copytree(shapes_dataset, tmp_path / "folders"))
    (folders / "train").rename(folders / "Train")
    (folders / "Train" / "labels").rename(folders / "Train" / "LABELS")
    assert find_layout(folders).splits == ("train", "val", "test")
    assert len(open_split(folders, "train")) == 10

    medical = tmp_path / "Medical_Datasets"
    (medical / "ImageSets" / "Segmentation").mkdir(parents=True)
    for folder in ("images", "labels"):
        shutil.copytree(shapes_dataset / "train" / folder, medical / folder.capitalize())
    # A line's first word, as the tutorials read it.
    (medical / "ImageSets" / "Segmentation" / "train.txt").write_text("03\n05 1\n")
    assert (find_layout(medical).layout, find_layout(medical).splits) == ("flat", ("train",))
    data = open_split(DataSource(root=str(medical), classes=CLASSES, ignore_index=255), "train")
    assert [image.name for image, _ in data.pairs] == ["03.png", "05.png"]
    shutil.rmtree(medical / "ImageSets")
    assert len(open_split(DataSource(root=str(medical), classes=CLASSES, ignore_index=255), "all")) == 10


def test_two_folders_of_one_name_in_other_letters_are_refused(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8))
    shutil.copytree(root / "images", root / "IMAGES")
    assert len(open_split(DataSource(root=str(root), classes="a,b"), "all")) == 1  # one is as it is asked for
    (root / "images").rename(root / "Images")
    with pytest.raises(InputError, match="has IMAGES and Images; keep the one you mean"):
        open_split(DataSource(root=str(root), classes="a,b"), "all")


def test_images_alone_are_no_labeled_data(gray: Callable[..., Path], voc_dataset: Path) -> None:
    root = gray(np.zeros((4, 6), np.uint8))
    assert is_labeled(root)
    assert is_labeled(voc_dataset)
    assert not is_labeled(root / "images")
    assert not is_labeled(root / "images" / "0.png")
    assert is_labeled(
        DataSource(root=str(root / "images"), classes="a,b")
    )  # it is meant to be, and opening it says why not


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["10.png", "9.png", "a2.png", "a10.png", "100.png", "a²3.png"]
    assert sorted(map(Path, names), key=natural_order) == list(
        map(Path, ["9.png", "10.png", "100.png", "a2.png", "a10.png", "a²3.png"])
    )


def test_the_cells_open(cells: Path) -> None:
    """Their classes.json has a threshold, and leaves to its reader that the membrane is dark."""
    bright, dark = (
        open_split(DataSource(root=str(cells), label_encoding=encoding), "all")
        for encoding in ("binary", "binary-dark")
    )
    assert (len(dark), dark.label_encoding) == (30, "binary-dark")
    image, label = dark[0]
    assert image.shape == (512, 512, 3)
    assert set(np.unique(label)) == {0, 1}
    assert (bright[0][1] == 1 - label).all()
