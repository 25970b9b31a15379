"""Where a data set keeps the images and labels of its splits: four layouts, recognized by what is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgeseg.choices import DataLayout
from edgeseg.datasets.faults import BadExample
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES

#: What a data set without splits is asked for.
ALL = "all"

_SPLIT_ORDER = ("train", "val", "test")
_LIST_NAMES = (*_SPLIT_ORDER, "trainval", ALL)
_LIST_FORM = "an image and its label, with a tab, ';', ',' or space between"


@dataclass(frozen=True)
class Found:
    """A data set that was recognized.

    Attributes:
        layout: how it keeps its files.
        base: the folder that has them; of VOC, below the one that was named.
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
        faults: one for each image without label and the other way round, where a list asks for it; and one for each
            two images or labels that a name may mean.
        unused: labels without image, which nobody asked for.
        place: what to name where there is nothing in it.
    """

    pairs: tuple[tuple[Path, Path], ...]
    faults: tuple[BadExample, ...]
    unused: tuple[Path, ...]
    place: Path


def find_layout(root: Path, asked: DataLayout | None = None) -> Found:
    """Recognize the layout of a data set.

    Args:
        root: its folder; of VOC, also the ``VOCdevkit`` folder or the one that has it.
        asked: the only layout to look for.

    Raises:
        InputError: there is none, or more than one; the text says what is looked for.
    """
    if root.is_file():
        raise InputError(f"'{root}' is a file; give the folder of the data set, with lists the one that has them.")
    if not root.is_dir():
        raise InputError(f"data folder '{root}' does not exist.")
    found = _candidates(root, asked)
    found = [data for data in found if data.splits] or found
    if not found:
        wanted = f"of layout '{asked}'" if asked else "a labeled data set"
        raise InputError(
            f"'{root}' is not {wanted}; looked for {{split}}/images and {{split}}/labels, images and labels, "
            "JPEGImages and SegmentationClass (VOC), or lists {split}.txt of images and labels."
        )
    if len(found) > 1:
        layouts = ", ".join(data.layout for data in found)
        raise InputError(f"'{root}' has the files of several layouts: {layouts}; say which one with --data-layout.")
    return found[0]


def has_layout(root: Path) -> bool:
    """Return whether there is anything that looks like a labeled data set."""
    return root.is_dir() and any(data.splits for data in _candidates(root, None))


def list_split(found: Found, split: str) -> Listing:
    """List the files of one split, what is wrong with its pairs set apart.

    Raises:
        InputError: there is no such split, or a list is not of its form.
    """
    if found.layout == "folders" and split not in found.splits:
        for folder in (found.base / split / "images", found.base / split / "labels"):
            if not folder.is_dir():
                raise InputError(f"'{folder}' does not exist; {_known(found)}")
    if split not in found.splits:
        raise InputError(f"there is no split '{split}'; {_known(found)}")
    if found.layout == "folders":
        return _pair_folders(found.base / split / "images", found.base / split / "labels")
    if found.layout == "flat":
        return _pair_folders(found.base / "images", found.base / "labels")
    if found.layout == "voc":
        return _pair_voc(found, split)
    return _pair_list(found.base / f"{split}.txt")


def images_in(folder: Path) -> list[Path]:
    """List the image files of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def natural_order(path: Path) -> tuple[object, ...]:
    """Return a key that sorts ``9.png`` before ``10.png``."""
    parts = re.split(r"(\d+)", path.stem)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _candidates(root: Path, asked: DataLayout | None) -> list[Found]:
    layouts: tuple[DataLayout, ...] = (asked,) if asked else get_args(DataLayout)
    return [data for data in (_FINDERS[layout](root) for layout in layouts) if data is not None]


def _known(found: Found) -> str:
    if found.splits == (ALL,):
        folder = shlex.quote(str(found.base))
        return f"'{found.base}' has no splits: make them with edgeseg data split {folder} --val 0.1 --test 0.1."
    return f"splits found in '{found.base}': {', '.join(found.splits) or 'none'}."


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    found = set(names)
    return (*(name for name in _SPLIT_ORDER if name in found), *sorted(found - set(_SPLIT_ORDER)))


def _find_folders(root: Path) -> Found | None:
    splits = [path.name for path in root.iterdir() if (path / "images").is_dir() and (path / "labels").is_dir()]
    half = any((path / "images").is_dir() for path in root.iterdir())
    return Found("folders", root, _ordered(splits)) if splits or half else None


def _find_flat(root: Path) -> Found | None:
    return Found("flat", root, (ALL,)) if (root / "images").is_dir() and (root / "labels").is_dir() else None


def _find_voc(root: Path) -> Found | None:
    places = [root, *sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    bases = [base for base in places if (base / "JPEGImages").is_dir() and (base / "SegmentationClass").is_dir()]
    if len(bases) > 1:
        names = ", ".join(str(base) for base in bases)
        raise InputError(f"'{root}' has several VOC data sets: {names}; give one of them.")
    if not bases:
        return None
    lists = [path.stem for path in (bases[0] / "ImageSets" / "Segmentation").glob("*.txt")]
    return Found("voc", bases[0], _ordered(lists) or (ALL,))


def _find_lists(root: Path) -> Found | None:
    lists = [name for name in _LIST_NAMES if (root / f"{name}.txt").is_file()]
    return Found("lists", root, _ordered(lists)) if lists else None


_FINDERS: dict[DataLayout, Callable[[Path], Found | None]] = {
    "folders": _find_folders,
    "flat": _find_flat,
    "voc": _find_voc,
    "lists": _find_lists,
}


def _pair_folders(images: Path, labels: Path) -> Listing:
    images_of, labels_of = _by_stem(images), _by_stem(labels)
    pairs, faults = [], []
    for stem, found in images_of.items():
        wrong = [*_same_name(found), *_same_name(labels_of.get(stem, []))]
        if stem not in labels_of:
            wrong.append(BadExample("missing_pair", found[0], f"'{found[0]}' has no label in '{labels}'."))
        faults += wrong
        if not wrong:
            pairs.append((found[0], labels_of[stem][0]))
    unused = [label for stem, found in labels_of.items() if stem not in images_of for label in found]
    return Listing(tuple(pairs), tuple(faults), tuple(unused), images)


def _pair_voc(found: Found, split: str) -> Listing:
    images, labels = found.base / "JPEGImages", found.base / "SegmentationClass"
    images_of, labels_of = _by_stem(images), _by_stem(labels)
    path = found.base / "ImageSets" / "Segmentation" / f"{split}.txt"
    if found.splits == (ALL,):
        # Most images of VOC have boxes and no masks: the masks say which are meant.
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


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of a folder, by their names without suffix."""
    found: dict[str, list[Path]] = {}
    for path in images_in(folder):
        found.setdefault(path.stem, []).append(path)
    return found


def _same_name(paths: list[Path]) -> Iterator[BadExample]:
    """Return what is said of each path beyond the first."""
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
