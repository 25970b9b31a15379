"""Find where a data set keeps the images and labels of its splits: four layouts, recognized by the files present."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgeseg._internal.limits.text import MAX_LIST, MAX_LIST_LINES, read_text
from edgeseg.choices import DataLayout
from edgeseg.datasets.faults import BadExample
from edgeseg.datasets.names import matched
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES

#: The split of a data set without splits.
ALL = "all"

_SPLIT_ORDER = ("train", "val", "test")
_LIST_NAMES = (*_SPLIT_ORDER, "trainval", ALL)
# A mask may be a GIF too, as in Carvana's data; images are not.
_LABEL_SUFFIXES = IMAGE_SUFFIXES | {".gif"}
#: The folders of images and of labels; they and the splits may be written in letters of any case.
_FOLDERS: dict[DataLayout, tuple[str, str]] = {
    "folders": ("images", "labels"),
    "flat": ("images", "labels"),
    "voc": ("JPEGImages", "SegmentationClass"),
}
_LIST_FORM = "an image and its label, with a tab, ';', ',' or space between"


@dataclass(frozen=True)
class Dataset:
    """A data set whose layout was recognized.

    Attributes:
        layout: how it keeps its files.
        base: the folder that has them; for VOC, below the one that was named.
        splits: their names, train, val and test first; ``all`` alone where there are none.
        typed: what a command needs to find it again, for texts that say what to type.
    """

    layout: DataLayout
    base: Path
    splits: tuple[str, ...]
    typed: str = "DIR"


@dataclass(frozen=True)
class Listing:
    """The files of one split.

    Attributes:
        pairs: ``(image, label)`` paths that are both there, sorted by name or in the order of the list.
        faults: one for each image without label and the other way round, where a list asks for it; and one for each two
            images or labels that a name may mean.
        unused: labels without image that no list asks for.
        place: the place to name where the split is empty.
    """

    pairs: tuple[tuple[Path, Path], ...]
    faults: tuple[BadExample, ...]
    unused: tuple[Path, ...]
    place: Path


def find_layout(root: Path, asked: DataLayout | None = None) -> Dataset:
    """Recognize the layout of a data set.

    Args:
        root: its folder; for VOC, also the ``VOCdevkit`` folder or the one that has it.
        asked: the only layout to look for.

    Raises:
        InputError: there is none, or more than one; the text says which files are expected.
    """
    if root.is_file():
        raise InputError(f"'{root}' is a file; give the folder of the data set, with lists the one that has them.")
    if not root.is_dir():
        raise InputError(f"data folder '{root}' does not exist.")
    candidates = _candidates(root, asked)
    candidates = [data for data in candidates if data.splits] or candidates
    if not candidates:
        wanted = f"of layout '{asked}'" if asked else "a labeled data set"
        raise InputError(
            f"'{root}' is not {wanted}; looked for {{split}}/images and {{split}}/labels, images and labels, "
            "JPEGImages and SegmentationClass (VOC), or lists {split}.txt of images and labels."
        )
    if len(candidates) > 1:
        layouts = ", ".join(data.layout for data in candidates)
        raise InputError(
            f"'{root}' has the files of several layouts: {layouts}; say which one with `DataSource(layout=...)`."
        )
    return candidates[0]


def has_layout(root: Path) -> bool:
    """Return whether a folder looks like a labeled data set."""
    return root.is_dir() and any(data.splits for data in _candidates(root, None))


def list_split(dataset: Dataset, split: str) -> Listing:
    """List the files of one split, with the faults of its pairs apart.

    Raises:
        InputError: there is no such split, or a list is not of its form.
    """
    if dataset.layout == "folders" and split not in dataset.splits:
        within = _folder(dataset.base, split) or dataset.base / split
        for name in _FOLDERS["folders"]:
            if _folder(within, name) is None:
                raise InputError(f"'{within / name}' does not exist; {_known(dataset)}")
    if split not in dataset.splits:
        raise InputError(f"there is no split '{split}'; {_known(dataset)}")
    if dataset.layout == "lists":
        return _pair_list(_lists_in(dataset.base)[split])
    base = _folder(dataset.base, split) if dataset.layout == "folders" else dataset.base
    assert base is not None
    images, labels = (_folder(base, name) or base / name for name in _FOLDERS[dataset.layout])
    lists = _split_lists(base)
    if dataset.layout != "folders" and split in lists:
        return _pair_listed(images, labels, lists[split])
    return _pair_masks(images, labels) if dataset.layout == "voc" else _pair_folders(images, labels)


def images_in(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """List the image files of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def natural_order(path: Path) -> tuple[object, ...]:
    """Return a key that sorts ``9.png`` before ``10.png``."""
    parts = re.split(r"(\d+)", path.stem)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _candidates(root: Path, asked: DataLayout | None) -> list[Dataset]:
    layouts: tuple[DataLayout, ...] = (asked,) if asked else get_args(DataLayout)
    return [data for data in (_FINDERS[layout](root) for layout in layouts) if data is not None]


def _known(dataset: Dataset) -> str:
    if dataset.splits == (ALL,):
        make = f"edgeseg data split {dataset.typed} --val 0.1 --test 0.1"
        return f"'{dataset.base}' has no splits: make them with {make}."
    return f"splits found in '{dataset.base}': {', '.join(dataset.splits) or 'none'}."


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    splits = set(names)
    return (*(name for name in _SPLIT_ORDER if name in splits), *sorted(splits - set(_SPLIT_ORDER)))


def _folder(within: Path, *names: str) -> Path | None:
    """Return the folder of that name, level by level, in letters of any case; one that is written as asked first.

    Raises:
        InputError: there are several, none of which is written as asked.
    """
    for name in names:
        if not within.is_dir():
            return None
        alike = [path for path in sorted(within.iterdir()) if path.name.lower() == name.lower() and path.is_dir()]
        exact = [path for path in alike if path.name == name]
        if len(alike) > 1 and not exact:
            raise InputError(f"'{within}' has {' and '.join(path.name for path in alike)}; keep the one you mean.")
        if not alike:
            return None
        within = (exact or alike)[0]
    return within


def _split_name(written: str) -> str:
    """Return the name of a split: those that are known, in letters of any case."""
    return written.lower() if written.lower() in _LIST_NAMES else written


def _split_lists(base: Path) -> dict[str, Path]:
    """Return the lists of VOC's ``ImageSets/Segmentation`` by their splits."""
    folder = _folder(base, "ImageSets", "Segmentation")
    return {} if folder is None else {_split_name(path.stem): path for path in sorted(folder.glob("*.txt"))}


def _lists_in(root: Path) -> dict[str, Path]:
    """Return the lists of images and labels in a folder by their splits."""
    lists = {_split_name(path.stem): path for path in sorted(root.glob("*.txt")) if path.is_file()}
    return {name: path for name, path in lists.items() if name in _LIST_NAMES}


def _find_folders(root: Path) -> Dataset | None:
    places = [path for path in sorted(root.iterdir()) if path.is_dir()]
    images, labels = _FOLDERS["folders"]
    splits = [_split_name(path.name) for path in places if _folder(path, images) and _folder(path, labels)]
    half = any(_folder(path, images) for path in places)
    return Dataset("folders", root, _ordered(splits)) if splits or half else None


def _find_flat(root: Path) -> Dataset | None:
    if not all(_folder(root, name) for name in _FOLDERS["flat"]):
        return None
    return Dataset("flat", root, _ordered(_split_lists(root)) or (ALL,))


def _find_voc(root: Path) -> Dataset | None:
    devkit = _folder(root, "VOCdevkit")
    places = [root, *(path for folder in (root, devkit) if folder for path in _voc_folders(folder))]
    bases = [base for base in places if all(_folder(base, name) for name in _FOLDERS["voc"])]
    if len(bases) > 1:
        names = ", ".join(str(base) for base in bases)
        raise InputError(f"'{root}' has several VOC data sets: {names}; give one of them.")
    return Dataset("voc", bases[0], _ordered(_split_lists(bases[0])) or (ALL,)) if bases else None


def _voc_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().startswith("voc") and path.is_dir())


def _find_lists(root: Path) -> Dataset | None:
    lists = _lists_in(root)
    return Dataset("lists", root, _ordered(lists)) if lists else None


_FINDERS: dict[DataLayout, Callable[[Path], Dataset | None]] = {
    "folders": _find_folders,
    "flat": _find_flat,
    "voc": _find_voc,
    "lists": _find_lists,
}


def _pair_folders(images: Path, labels: Path) -> Listing:
    images_of, labels_of = _by_stem(images), _by_stem(labels, _LABEL_SUFFIXES)
    labels_of = _by_image(images_of, labels_of)
    advice = "" if set(images_of) & set(labels_of) else _advice(images, labels)
    pairs, faults = [], []
    for stem, paths in images_of.items():
        wrong = [*_same_name(paths), *_same_name(labels_of.get(stem, []))]
        if stem not in labels_of:
            wrong.append(BadExample("missing_pair", paths[0], f"'{paths[0]}' has no label in '{labels}'.{advice}"))
        faults += wrong
        if not wrong:
            pairs.append((paths[0], labels_of[stem][0]))
    unused = [label for stem, paths in labels_of.items() if stem not in images_of for label in paths]
    return Listing(tuple(pairs), tuple(faults), tuple(unused), images)


def _pair_masks(images: Path, labels: Path) -> Listing:
    """Pair what has a label: most images of VOC have boxes and no masks."""
    return _pair_names(images, labels, sorted(_by_stem(labels, _LABEL_SUFFIXES)), labels)


def _pair_listed(images: Path, labels: Path, path: Path) -> Listing:
    """Pair the names of a list: each line's first word, as the tutorials read it, where the line is no name itself."""
    known = _by_stem(images).keys() | _by_stem(labels, _LABEL_SUFFIXES).keys()
    names = [line if line in known else line.split()[0] for _, line in _lines(path)]
    return _pair_names(images, labels, names, path)


def _pair_names(images: Path, labels: Path, names: Iterable[str], place: Path) -> Listing:
    images_of, labels_of = _by_stem(images), _by_stem(labels, _LABEL_SUFFIXES)
    pairs, faults = [], []
    for name in names:
        wrong = [*_same_name(images_of.get(name, [])), *_same_name(labels_of.get(name, []))]
        for folder, known in ((images, images_of), (labels, labels_of)):
            if name not in known:
                wrong.append(BadExample("missing_pair", folder / name, f"'{place}': '{name}' is not in '{folder}'."))
        faults += wrong
        if not wrong:
            pairs.append((images_of[name][0], labels_of[name][0]))
    return Listing(tuple(pairs), tuple(faults), (), place)


def _by_stem(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> dict[str, list[Path]]:
    """Return the image files of a folder, by their names without suffix."""
    paths: dict[str, list[Path]] = {}
    for path in images_in(folder, suffixes):
        paths.setdefault(path.stem, []).append(path)
    return paths


def _by_image(images_of: dict[str, list[Path]], labels_of: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Return the labels by the names of their images, where all names differ from those in the same way."""
    image_of = matched(images_of, labels_of)
    return labels_of if image_of is None else {image_of[name]: paths for name, paths in labels_of.items()}


def _advice(images: Path, labels: Path) -> str:
    """Return what to do where no image has a label of its name."""
    there = sorted(path for path in labels.iterdir() if path.is_file() and not path.name.startswith("."))
    if not there:
        return ""
    if not any(path.suffix.lower() in _LABEL_SUFFIXES for path in there):
        return f" It has files such as '{there[0].name}'; labels are {', '.join(sorted(_LABEL_SUFFIXES))}."
    root = os.path.commonpath([images, labels])
    line = f"{os.path.relpath(images, root)}/NAME, {os.path.relpath(labels, root)}/{there[0].name}"
    return (
        f" Labels with names of their own are paired by a list: write '{root}/{ALL}.txt' with a line for each, such as "
        f"'{line}', and give `DataSource(layout='lists')`."
    )


def _same_name(paths: list[Path]) -> Iterator[BadExample]:
    """Yield a fault for each path beyond the first."""
    for other in paths[1:]:
        text = f"'{paths[0]}' and '{other}' have the same name but for the suffix: keep the one you mean."
        yield BadExample("same_name", other, text)


def _pair_list(path: Path) -> Listing:
    pairs, faults = [], []
    for number, line in _lines(path):
        separator = next((mark for mark in "\t;," if mark in line), None)
        parts = [part.strip() for part in line.split(separator)]
        if len(parts) != 2 or not all(parts):
            raise InputError(f"'{path}' line {number}, '{line}', is not {_LIST_FORM}.")
        image, label = (path.parent / part for part in parts)
        gone = [
            BadExample("missing_pair", one, f"'{one}' does not exist; '{path}' line {number} asks for it.")
            for one in (image, label)
            if not one.is_file()
        ]
        faults += gone
        if not gone:
            pairs.append((image, label))
    return Listing(tuple(pairs), tuple(faults), (), path)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Yield numbered lines that are neither empty nor comments."""
    try:
        lines = read_text(path, MAX_LIST, encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list '{path}' cannot be read as text: {error}.") from error
    if len(lines) > MAX_LIST_LINES:
        raise InputError(f"list '{path}' has {len(lines)} lines; at most {MAX_LIST_LINES} are read.")
    return [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
