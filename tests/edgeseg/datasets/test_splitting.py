from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import DataSource, open_split
from edgeseg.datasets.splitting import split, split_pairs
from edgeseg.errors import InputError

PAIRS = tuple((Path(f"images/{index}.png"), Path(f"labels/{index}.png")) for index in range(100))


def names(pairs: list[tuple[Path, Path]]) -> list[str]:
    return [image.stem for image, _ in pairs]


def test_the_shares_are_kept_and_each_pair_is_in_one_split() -> None:
    parts = split_pairs(PAIRS, val=0.2, test=0.1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 70, "val": 20, "test": 10}
    assert sorted(name for part in parts.values() for name in names(part)) == sorted(names(list(PAIRS)))


def test_the_seed_decides_and_nothing_else() -> None:
    first = split_pairs(PAIRS, val=0.2, test=0.1, seed=1)
    assert split_pairs(PAIRS[::-1], val=0.2, test=0.1, seed=1) == first
    assert split_pairs(PAIRS, val=0.2, test=0.1, seed=2) != first
    # Written down: the same on every machine and with every version.
    assert names(split_pairs(PAIRS[:10], val=0.2, test=0.1)["test"]) == ["3"]


def test_images_that_are_added_move_few_others() -> None:
    before, after = (set(names(split_pairs(PAIRS[:count], val=0.2, test=0.1)["train"])) for count in (90, 100))
    assert len(before - after) <= 3


def test_by_name_the_last_are_held_out() -> None:
    parts = split_pairs(PAIRS[:30], val=0.1, test=0.2, order="name")
    assert names(parts["test"]) == ["24", "25", "26", "27", "28", "29"]
    assert names(parts["val"]) == ["21", "22", "23"]


def test_a_share_of_0_is_no_split_and_a_small_one_is_a_image() -> None:
    parts = split_pairs(PAIRS[:5], val=0.01, test=0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 4, "val": 1}


@pytest.mark.parametrize(("val", "test"), [(0, 0), (0.5, 0.5), (-0.1, 0.2), (1, 0)])
def test_shares_that_make_no_sense_are_input_errors(val: float, test: float) -> None:
    with pytest.raises(InputError, match="the shares must be"):
        split_pairs(PAIRS, val=val, test=test)
    with pytest.raises(InputError, match="of 2 pairs leave none for training"):
        split_pairs(PAIRS[:2], val=0.1, test=0.1)


def test_lists_are_written_beside_the_data_and_open_as_it_would(gray: Callable[..., Path], tmp_path: Path) -> None:
    root = gray(*(np.full((4, 6), 255 * (index % 2), np.uint8) for index in range(6)))
    before = sorted(root.rglob("*"))
    result = split(DataSource(root=str(root), classes="a,b"), tmp_path / "lists", val=0.3, test=0.2)
    assert result.counts == {"train": 3, "val": 2, "test": 1}
    assert sorted(root.rglob("*")) == before
    assert json.loads((result.folder / "classes.json").read_text())["label_encoding"] == "binary"
    moved = tmp_path / "elsewhere"  # both together: the paths are relative
    for folder in (root, result.folder):
        shutil.move(folder, moved / folder.name)
    parts = [open_split(moved / "lists", name) for name in ("train", "val", "test")]
    assert sorted(image.stem for part in parts for image, _ in part.pairs) == list("012345")
    for part in parts:
        for index, (image, _) in enumerate(part.pairs):
            assert (part[index][1] == int(image.stem) % 2).all()


def test_what_would_change_or_mix_data_is_refused(
    gray: Callable[..., Path], shapes_dataset: Path, tmp_path: Path
) -> None:
    root = gray(*(np.zeros((4, 6), np.uint8) for _ in range(6)))
    source = DataSource(root=str(root), classes="a,b")
    with pytest.raises(InputError, match=r"has splits already: train, val, test; .* give its own folder"):
        split(shapes_dataset, tmp_path / "lists", val=0.1, test=0.1)
    with pytest.raises(InputError, match="is the data itself"):
        split(source, root, val=0.1, test=0.1)
    split(source, tmp_path / "lists", val=0.2, test=0.2)
    with pytest.raises(InputError, match="exists; give `overwrite=True`"):
        split(source, tmp_path / "lists", val=0.2, test=0.2, seed=1)
    with pytest.raises(InputError, match=r"has a test\.txt of another split"):
        split(source, tmp_path / "lists", val=0.2, test=0, overwrite=True)
    split(source, tmp_path / "lists", val=0.2, test=0.2, seed=1, overwrite=True)
    (root / "labels" / "3.png").unlink()
    with pytest.raises(InputError, match=r"3\.png' has no label"):
        split(source, tmp_path / "more", val=0.2, test=0.2)
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("without", "shares", "counts"),
    [
        (("val", "test"), {}, {"train": 9, "val": 1}),
        (("val", "test"), {"val": 0.3}, {"train": 7, "val": 3}),
        (("val", "test"), {"val": 0.2, "test": 0.2}, {"train": 6, "val": 2, "test": 2}),
        (("val",), {"val": 0.2}, {"train": 8, "val": 2, "test": 4}),
        (("test",), {"test": 0.1}, {"train": 9, "val": 4, "test": 1}),
    ],
)
def test_what_is_split_is_kept_and_the_rest_is_taken_from_train(
    copy: Path, tmp_path: Path, without: tuple[str, ...], shares: dict[str, float], counts: dict[str, int]
) -> None:
    for name in without:
        shutil.rmtree(copy / name)
    result = split(copy, tmp_path / "lists", **shares)  # type: ignore[arg-type]
    assert result.counts == counts
    lists = {name: {image for image, _ in open_split(result.folder, name).pairs} for name in counts}
    assert sum(map(len, lists.values())) == len(set().union(*lists.values()))
    for name in {"val", "test"} - set(without):
        assert {path.name for path in lists[name]} == {path.name for path in (copy / name / "images").iterdir()}


def test_a_split_that_is_there_is_not_made_again(copy: Path, voc_dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "test")
    voc = DataSource(root=str(voc_dataset), classes="wall,red,blue")
    for data, shares in ((copy, {"val": 0.1}), (copy, {}), (copy, {"val": 0.0, "test": 0.0}), (voc, {})):
        with pytest.raises(InputError, match="has splits already: train, val"):
            split(data, tmp_path / "lists", **shares)  # type: ignore[arg-type]
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\u2028b", "z\udcfcrich"])
def test_a_name_that_no_list_can_hold_is_refused_before_anything_is_written(
    gray: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    root = gray(*(np.full((4, 6), 255 * (index % 2), np.uint8) for index in range(4)))
    for file in [file for file in root.rglob("*.png") if file.stem == "0"]:
        file.rename(file.with_name(f"{name}.png"))
    with pytest.raises(InputError, match="cannot be in a list: its name has a tab, a line end"):
        split(DataSource(root=str(root), classes="a,b"), tmp_path / "lists", val=0.25, test=0.25)
    assert not (tmp_path / "lists").exists()
