"""``faults`` and ``findings``: data sets with faults of every kind, and what is said of them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeseg.datasets import DataSource, layouts
from edgeseg.datasets.check import check, is_cut_off
from edgeseg.datasets.findings import CheckResult, require_good
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image


def found(result: CheckResult) -> list[tuple[str, str]]:
    return [(finding.kind, Path(finding.path).name) for finding in result.findings]


def test_good_data_has_no_findings_and_its_pixels_are_counted(shapes_dataset: Path) -> None:
    steps: list[tuple[int, int]] = []
    result = check(shapes_dataset, progress=lambda done, total: steps.append((done, total)))
    assert result.findings == ()
    assert result.num_pairs == {"train": 10, "val": 4, "test": 4}
    assert steps == [(done, 18) for done in range(1, 19)]
    labels = [np.array(Image.open(path)) for path in sorted((shapes_dataset / "val" / "labels").iterdir())]
    assert result.pixels["val"].tolist() == [sum(int((label == index).sum()) for label in labels) for index in range(3)]
    assert result.ignored_pixels["val"] == 4 * 2 * 80  # the strip that every label begins with
    assert result.shares("val").sum() == pytest.approx(1)
    assert result.to_dict()["splits"]["val"]["pixels"]["red"] == result.pixels["val"][1]


def test_every_kind_of_damage_is_found_in_one_go(copy: Path) -> None:
    images, labels = copy / "train" / "images", copy / "train" / "labels"
    (labels / "00.png").unlink()
    (images / "01.png").write_bytes(b"no image")
    (images / "02.png").write_bytes((images / "02.png").read_bytes()[:-500])
    (labels / "03.png").write_bytes((labels / "03.png").read_bytes()[:-60])
    (labels / "04.png").write_bytes(encode_image(np.zeros((64, 79), np.uint8)))
    (labels / "05.png").write_bytes(encode_image(np.full((64, 80), 7, np.uint8)))
    (labels / "unused.png").write_bytes(b"")
    shutil.copy(copy / "train" / "images" / "06.png", copy / "val" / "images" / "03.png")
    for path in (copy / "test" / "images").iterdir():
        path.unlink()
    result = check(copy)
    # What is missing first, then what reading shows; warnings last.
    assert found(result) == [
        ("missing_pair", "00.png"),
        ("empty_split", "images"),
        ("does_not_decode", "01.png"),
        ("does_not_decode", "02.png"),
        ("does_not_decode", "03.png"),
        ("size_mismatch", "04.png"),
        ("id_out_of_range", "05.png"),
        ("duplicate", "03.png"),
        *[("unused_label", name) for name in ("unused.png", "00.png", "01.png", "02.png", "03.png")],
    ]
    assert "same image as" in result.errors[7].text
    assert "06.png' of train" in result.errors[7].text
    assert result.num_pairs == {"train": 4, "val": 4, "test": 0}


def test_the_threads_change_nothing(copy: Path) -> None:
    for index in range(0, 10, 2):
        (copy / "train" / "images" / f"{index:02d}.png").write_bytes(b"")
    assert found(check(copy, num_threads=1)) == found(check(copy, num_threads=8))


def test_a_class_in_no_label_is_a_warning(gray: Callable[..., Path]) -> None:
    root = gray(np.zeros((4, 6), np.uint8))
    result = check(DataSource(root=str(root), classes="a,b,c"))
    assert [finding.text for finding in result.warnings] == [
        "the class 'b' (id 1) is in no label.",
        "the class 'c' (id 2) is in no label.",
    ]
    assert result.errors == ()


def relabel(split: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace every label of a split by what ``change`` makes of it."""
    for path in (split / "labels").iterdir():
        path.write_bytes(encode_image(change(np.array(Image.open(path)))))


def test_a_class_that_training_never_sees_is_a_warning(copy: Path) -> None:
    relabel(copy / "train", lambda label: np.where(label == 1, 0, label).astype(np.uint8))
    (warning,) = check(copy).findings
    assert (warning.kind, warning.path, warning.is_error) == ("class_not_in_train", "red", False)
    assert warning.text == "the class 'red' (id 1) is in val and test but in no label of train: it cannot be learned."
    (warning,) = check(copy, splits=["train", "val"]).findings
    assert "is in val but in no label of train" in warning.text
    assert check(copy, splits=["val", "test"]).findings == ()
    relabel(copy / "val", lambda label: np.where(label == 1, 0, label).astype(np.uint8))
    (warning,) = check(copy, splits=["train", "val"]).findings
    assert warning.text == "the class 'red' (id 1) is in no label."


@pytest.mark.parametrize(
    ("split", "why"),
    [
        ("train", "there is nothing to learn from"),
        ("val", "no epoch can be the best"),
        ("test", "there is nothing to score"),
    ],
)
def test_a_split_of_ignored_pixels_alone_is_an_error(copy: Path, split: str, why: str) -> None:
    relabel(copy / split, lambda label: np.full_like(label, 255))
    (error,) = check(copy).findings
    assert (error.kind, error.path, error.is_error) == ("nothing_counts", split, True)
    assert error.text == f"no pixel of the readable labels of {split} counts, all are the ignored id 255: {why}."
    assert check(copy, splits=[name for name in ("train", "val", "test") if name != split]).findings == ()


def test_two_files_of_one_name_are_an_error_that_names_both(copy: Path) -> None:
    images, labels = copy / "train" / "images", copy / "train" / "labels"
    shutil.copy(images / "01.png", images / "01.bmp")
    shutil.copy(labels / "03.png", labels / "03.TIF")
    (labels / "spare.png").write_bytes(b"")
    (labels / "spare.jpg").write_bytes(b"")
    result = check(copy)
    assert found(result) == [
        ("same_name", "01.png"),
        ("same_name", "03.png"),
        ("unused_label", "spare.jpg"),
        ("unused_label", "spare.png"),
    ]
    assert result.errors[1].text == (
        f"'{labels / '03.TIF'}' and '{labels / '03.png'}' have the same name but for the suffix: keep the one you mean."
    )
    assert result.num_pairs["train"] == 8  # neither is read


@pytest.mark.parametrize("splits", [None, ["val"], ["val", "val"]])
def test_every_folder_is_listed_once(
    shapes_dataset: Path, monkeypatch: pytest.MonkeyPatch, splits: list[str] | None
) -> None:
    listed: list[Path] = []

    def images_in(folder: Path, *suffixes: frozenset[str]) -> list[Path]:
        listed.append(folder)
        return original(folder, *suffixes)

    original = layouts.images_in
    monkeypatch.setattr(layouts, "images_in", images_in)
    check(shapes_dataset, splits=splits)
    # All of them whatever is asked for: the encoding is that of the whole data set.
    both = ("images", "labels")
    assert sorted(listed) == sorted(shapes_dataset / split / one for split in ("train", "val", "test") for one in both)


def test_unknown_colors_are_errors_with_their_files(gray: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "colors.txt").write_text("0 0 0 a\n9 9 9 b\n")
    label = np.zeros((4, 6, 3), np.uint8)
    label[0, 0] = (200, 9, 9)
    source = DataSource(root=str(gray(np.zeros((4, 6, 3), np.uint8), label)), color_map=str(tmp_path / "colors.txt"))
    (error,) = check(source).errors
    assert (error.kind, Path(error.path).name) == ("unknown_color", "1.png")
    assert "(200, 9, 9) (1 pixel)" in error.text


def test_vocs_trainval_is_no_duplicate(voc_dataset: Path) -> None:
    result = check(DataSource(root=str(voc_dataset), classes="wall,red,blue"))
    assert result.findings == ()
    assert list(result.num_pairs) == ["train", "val"]


def test_a_mask_with_another_palette_is_a_warning(voc_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(voc_dataset, tmp_path / "voc"))
    path = root / "VOCdevkit" / "VOC2007" / "SegmentationClass" / "01.png"
    sorted_by_a_program = Image.open(path)
    sorted_by_a_program.load()
    palette = sorted_by_a_program.getpalette()
    assert palette is not None
    sorted_by_a_program.putpalette(palette[3:6] + palette[:3] + palette[6:])
    sorted_by_a_program.save(path)
    (warning,) = check(DataSource(root=str(root), classes="wall,red,blue")).findings
    assert (warning.kind, Path(warning.path).name) == ("palette_differs", "01.png")
    assert not warning.is_error


def test_a_split_that_is_not_there_is_an_input_error(shapes_dataset: Path) -> None:
    with pytest.raises(InputError, match=r"splits found in .*: train, val, test"):
        check(shapes_dataset, splits=["train", "dev"])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_file_that_lacks_its_end_is_seen_though_opencv_reads_it(suffix: str) -> None:
    content = encode_image(np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8), suffix)
    assert not is_cut_off(content)
    assert not is_cut_off(content + b"what a phone adds: \xff\xda\x00\x0c")
    assert is_cut_off(content[: len(content) // 2])


def test_the_end_of_a_progressive_jpeg_is_found_behind_its_scans_and_its_thumbnail() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    thumbnail = encode_image(pixels[:16, :16], ".jpg")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", progressive=True, restart_marker_blocks=4, comment=thumbnail)
    content = file.getvalue()
    assert content.count(b"\xff\xda") > 3
    assert not is_cut_off(content)
    assert is_cut_off(content[:-2])
    assert is_cut_off(content[: content.rfind(b"\xff\xda")])


def test_a_list_of_errors_has_a_limit_and_a_count(copy: Path) -> None:
    for path in (copy / "train" / "labels").iterdir():
        path.write_bytes(b"")
    told: list[str] = []
    with pytest.raises(InputError, match="the data has 10 problems, so nothing was done"):
        require_good(check(copy), "nothing was done", told.append, limit=3)
    assert len(told) == 4
    assert told[-1] == "and 7 more; edgeseg data check lists them all."


def test_camvid_is_good(camvid: Path) -> None:
    result = check(camvid, splits=["val"])
    assert result.findings == ()
    assert result.num_pairs == {"val": 101}


@pytest.mark.parametrize(("bright", "dark"), [("binary", "binary-dark"), ("binary-dark", "binary")])
def test_a_class_1_that_covers_most_may_be_the_wrong_side(gray: Callable[..., Path], bright: str, dark: str) -> None:
    label = np.full((10, 10), 255 if bright == "binary" else 0, np.uint8)
    label[:2] = 255 - label[:2]
    root = gray(label)
    source = DataSource(root=str(root), classes="background,membrane", label_encoding=bright)  # type: ignore[arg-type]
    (warning,) = check(source).warnings
    side = "bright" if bright == "binary" else "dark"
    assert warning.text == (
        f"class 1, 'membrane', covers 80 % of the pixels: it is what is {side} in the labels. Where 'membrane' is the "
        f"other side, give `label_encoding={dark!r}`."
    )
    other = DataSource(root=str(root), classes="background,membrane", label_encoding=dark)  # type: ignore[arg-type]
    assert check(other).warnings == ()


def test_ids_say_themselves_which_class_they_are(gray: Callable[..., Path]) -> None:
    root = gray(np.ones((4, 6), np.uint8), np.eye(6, dtype=np.uint8))
    assert check(DataSource(root=str(root), classes="a,b")).warnings == ()
