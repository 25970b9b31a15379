"""Find where a data set keeps the images and labels of its splits: four layouts, recognized by the files present."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

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

_LIST_FORM = "an image and its label, with a tab, ';', ',' or space between"


@dataclass(frozen=True)
class Dataset:
    """A data set whose layout was recognized.

    Attributes:
        layout: how it keeps its files.
        base: the folder that has them; for VOC, below the one that was named.
        splits: their names, train, val and test first; ``all`` alone where there are none.
    """

    layout: DataLayout
    base: Path
    splits: tuple[str, ...]


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
        raise InputError(f"'{root}' has the files of several layouts: {layouts}; say which one with --data-layout.")
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
        for folder in (dataset.base / split / "images", dataset.base / split / "labels"):
            if not folder.is_dir():
                raise InputError(f"'{folder}' does not exist; {_known(dataset)}")
    if split not in dataset.splits:
        raise InputError(f"there is no split '{split}'; {_known(dataset)}")
    if dataset.layout == "folders":
        return _pair_folders(dataset.base / split / "images", dataset.base / split / "labels")
    if dataset.layout == "flat":
        return _pair_folders(dataset.base / "images", dataset.base / "labels")
    if dataset.layout == "voc":
        return _pair_voc(dataset, split)
    return _pair_list(dataset.base / f"{split}.txt")


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
        folder = shlex.quote(str(dataset.base))
        return f"'{dataset.base}' has no splits: make them with edgeseg data split {folder} --val 0.1 --test 0.1."
    return f"splits found in '{dataset.base}': {', '.join(dataset.splits) or 'none'}."


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    splits = set(names)
    return (*(name for name in _SPLIT_ORDER if name in splits), *sorted(splits - set(_SPLIT_ORDER)))


def _find_folders(root: Path) -> Dataset | None:
    splits = [path.name for path in root.iterdir() if (path / "images").is_dir() and (path / "labels").is_dir()]
    half = any((path / "images").is_dir() for path in root.iterdir())
    return Dataset("folders", root, _ordered(splits)) if splits or half else None


def _find_flat(root: Path) -> Dataset | None:
    return Dataset("flat", root, (ALL,)) if (root / "images").is_dir() and (root / "labels").is_dir() else None


def _find_voc(root: Path) -> Dataset | None:
    places = [root, *sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    bases = [base for base in places if (base / "JPEGImages").is_dir() and (base / "SegmentationClass").is_dir()]
    if len(bases) > 1:
        names = ", ".join(str(base) for base in bases)
        raise InputError(f"'{root}' has several VOC data sets: {names}; give one of them.")
    if not bases:
        return None
    lists = [path.stem for path in (bases[0] / "ImageSets" / "Segmentation").glob("*.txt")]
    return Dataset("voc", bases[0], _ordered(lists) or (ALL,))


def _find_lists(root: Path) -> Dataset | None:
    lists = [name for name in _LIST_NAMES if (root / f"{name}.txt").is_file()]
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


def _pair_voc(dataset: Dataset, split: str) -> Listing:
    images, labels = dataset.base / "JPEGImages", dataset.base / "SegmentationClass"
    images_of, labels_of = _by_stem(images), _by_stem(labels, _LABEL_SUFFIXES)
    path = dataset.base / "ImageSets" / "Segmentation" / f"{split}.txt"
    if dataset.splits == (ALL,):
        # Most images of VOC have boxes and no masks: the masks determine the images.
        names, place = sorted(labels_of), labels
    else:
        names, place = [name for _, name in _lines(path)], path
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
        f"'{line}', and give --data-layout lists."
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
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list '{path}' cannot be read as text: {error}.") from error
    return [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
