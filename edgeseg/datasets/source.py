"""Open a split: the one way in which training, evaluation, export and the checks read labeled data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.choices import DataLayout, LabelEncoding
from edgeseg.datasets.classes import (
    PRESETS,
    VOC_IGNORE,
    Classes,
    checked,
    given_classes,
    read_classes,
    read_color_map,
)
from edgeseg.datasets.faults import BadExample
from edgeseg.datasets.labels import read_ids, recognize_encoding
from edgeseg.datasets.layouts import Dataset, Listing, find_layout, has_layout, list_split
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES, read_image


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where a data set is, and what the user says about it; ``None`` is detected.

    Attributes:
        root: its folder.
        layout: how it keeps its files.
        classes: ``a,b,c``, a preset's name, or a file of names; ``classes.json`` in the folder when ``None``.
        label_encoding: how its labels encode the classes.
        ignore_index: label id that is no class.
        color_map: a file with the color of each class.
    """

    __repr__ = short_repr

    root: str
    layout: DataLayout | None = None
    classes: str | None = None
    label_encoding: LabelEncoding | None = None
    ignore_index: int | None = None
    color_map: str | None = None

    @property
    def name(self) -> str:
        """The folder's name, for titles."""
        return Path(self.root).absolute().name

    @property
    def typed(self) -> str:
        """The folder and the options as a command takes them: ``DIR --classes A,B``."""
        options = {
            "--data-layout": self.layout,
            "--classes": self.classes,
            "--label-encoding": self.label_encoding,
            "--ignore-index": self.ignore_index,
            "--color-map": self.color_map,
        }
        given = (f"{option} {shlex.quote(str(value))}" for option, value in options.items() if value is not None)
        return " ".join([shlex.quote(self.root), *given])

    @property
    def plain(self) -> str | DataSource:
        """The folder alone where the user said nothing more."""
        return self.root if self == DataSource(root=self.root) else self


#: The type of every argument for data: a folder, or a folder and what to know about it.
Data = str | Path | DataSource


@dataclass(frozen=True)
class LabeledSplit:
    """One split of a labeled data set.

    Attributes:
        classes: names, colors and the ignored id.
        pairs: ``(image, label)`` paths.
        label_encoding: how the labels encode the classes.
    """

    __repr__ = short_repr

    classes: Classes
    pairs: tuple[tuple[Path, Path], ...]
    label_encoding: LabelEncoding = "ids"

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read one pair: ``(H, W, 3)`` uint8 RGB, and ``(H, W)`` uint8 class ids.

        Raises:
            BadExample: an image does not decode, the two sizes differ, or a label has an id or color of no class.
        """
        image_path, label_path = self.pairs[index]
        try:
            image = read_image(image_path)
        except InputError as error:
            raise BadExample("does_not_decode", image_path, str(error)) from error
        label = self.read_label(index)
        if image.shape[:2] != label.shape:
            text = f"'{image_path}' is {image.shape[:2]} but its label '{label_path}' is {label.shape}."
            raise BadExample("size_mismatch", label_path, text)
        return image, label

    def read_label(self, index: int) -> NDArray[np.uint8]:
        """Read one label without its image: ``(H, W)`` uint8 class ids.

        Raises:
            BadExample: it does not decode, or has an id or color of no class.
        """
        return read_ids(self.pairs[index][1], self.classes, self.label_encoding)


def as_source(data: Data) -> DataSource:
    """Make a ``DataSource`` of a folder without further information."""
    return data if isinstance(data, DataSource) else DataSource(root=str(data))


def is_labeled(data: Data) -> bool:
    """Return whether it is, or is meant to be, a labeled data set, and not a folder of images."""
    source = as_source(data)
    says_more = source.plain != source.root
    return says_more or (Path(source.root) / "classes.json").exists() or has_layout(Path(source.root))


def open_split(data: Data, split: str) -> LabeledSplit:
    """Find the pairs of one split.

    Args:
        data: the data set, in any of the layouts.
        split: its name, ``train``, ``val`` or ``test``; ``all`` for a data set without splits.

    Raises:
        InputError: a folder or a label is missing, two files have one name, or the classes are not known; the text
            says which.
    """
    source = as_source(data)
    dataset, classes = find_data(source)
    listing = list_split(dataset, split)
    if listing.faults:
        raise listing.faults[0]
    if not listing.pairs:
        raise InputError(empty_text(listing.place))
    return LabeledSplit(classes, listing.pairs, encoding_of(dataset, classes, {split: listing}))


def open_classes(data: Data) -> Classes:
    """Read the classes of a data set.

    Raises:
        InputError: there is no data set, or its classes are not known.
    """
    return find_data(data)[1]


def find_data(data: Data) -> tuple[Dataset, Classes]:
    """Find the layout and the classes of a data set, without reading its images.

    Raises:
        InputError: there is no data set, or its classes are not known.
    """
    source = as_source(data)
    dataset = replace(find_layout(Path(source.root), source.layout), typed=source.typed)
    return dataset, _classes_of(source, dataset)


def encoding_of(dataset: Dataset, classes: Classes, listings: Mapping[str, Listing]) -> LabelEncoding:
    """Return how the labels of a whole data set, all splits together, encode their classes.

    Args:
        dataset: the data set.
        classes: its classes.
        listings: of those of its splits that are already listed.

    Raises:
        InputError: the labels have colors, and two classes have the same color.
    """
    labels: list[Path] = []
    for split in dataset.splits:
        pairs = listings[split].pairs if split in listings else _pairs_or_none(dataset, split)
        labels += [label for _, label in pairs]
    encoding = recognize_encoding(labels, classes)
    if encoding == "colors" and len(set(classes.palette)) != len(classes.palette):
        raise InputError("the labels have colors, but two classes have the same one in the palette.")
    return encoding


def empty_text(place: Path) -> str:
    """Return the error text for a split without images."""
    return f"'{place}' has no images ({', '.join(sorted(IMAGE_SUFFIXES))})."


def _pairs_or_none(dataset: Dataset, split: str) -> Sequence[tuple[Path, Path]]:
    try:
        return list_split(dataset, split).pairs
    except InputError:  # reported when that split is opened
        return ()


def _classes_of(source: DataSource, dataset: Dataset) -> Classes:
    # VOC's own folder, or the one above it that the user named.
    tables = [folder / "classes.json" for folder in (Path(source.root), dataset.base)]
    return classes_of(source, tables, is_voc=dataset.layout == "voc")


def classes_of(source: DataSource, tables: Sequence[Path], *, is_voc: bool = False) -> Classes:
    """Return the classes of a data set: those that the user names, else those of the first table that exists.

    Args:
        source: what the user says.
        tables: where ``classes.json`` may be.
        is_voc: whether the labels have VOC's ignored id, where the user does not say another.

    Raises:
        InputError: there is no such table and the user names none, or what they say does not go together.
    """
    table = next((path for path in tables if path.exists()), None)
    classes: Classes | None = None
    if source.classes is not None:
        classes = given_classes(source.classes, source.label_encoding)
    elif table is not None:
        classes = read_classes(table, source.label_encoding)
    if source.color_map is not None:
        classes = read_color_map(source.color_map, classes)
    if classes is None:
        raise InputError(
            f"'{tables[0]}' cannot be read: a data folder needs a classes.json; "
            f"or give `classes='a,b,c'`, a text file with one name a line, or one of {', '.join(PRESETS)}."
        )
    if source.classes is not None and is_voc and classes.ignore_index is None:
        classes = replace(classes, ignore_index=VOC_IGNORE)
    if source.ignore_index is not None:
        classes = replace(classes, ignore_index=source.ignore_index)
    if source.label_encoding is not None:
        classes = replace(classes, label_encoding=source.label_encoding)
    return checked(f"'{source.root}'", classes)
