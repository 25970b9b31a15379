"""Convert labelme's JSON files to label images: a folder with ``images``, ``labels`` and ``classes.json``."""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgeseg._internal.files import refuse_existing, write_bytes, write_text, writing_folder
from edgeseg._internal.json import FEW, Meta, WrongValue, decode
from edgeseg._internal.limits.text import read_text
from edgeseg._internal.progress import Progress
from edgeseg._internal.text import counted
from edgeseg.datasets.classes import VOC_IGNORE, Classes, checked
from edgeseg.errors import InputError, did_you_mean
from edgeseg.imaging import IMAGE_SUFFIXES, decode_image, encode_image, read_bytes
from edgeseg.polygons.labelme import MOST_POINTS, Shape
from edgeseg.spec import MAX_CLASSES, default_palette

# Names with a meaning of their own in labelme.
_BACKGROUND, _IGNORE = "_background_", "__ignore__"

_SHAPES = ("polygon", "rectangle", "circle")

# Bytes of a file with its image inside, which base64 makes a third larger: 190 MB of image.
_MAX_DOCUMENT = 1 << 28
# Rows that the edges of a document's polygons cross: a million take half a second.
_MOST_CROSSED = 20_000_000

_Side = Annotated[float, Meta(ge=0, le=2**31)]


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A file of labelme."""

    shapes: Annotated[tuple[Shape, ...], Meta(max_length=FEW)]
    imagePath: Annotated[str, Meta(max_length=4096)] | None = None  # noqa: N815 - labelme's name
    imageData: Annotated[str, Meta(max_length=_MAX_DOCUMENT)] | None = None  # noqa: N815
    imageHeight: _Side | None = None  # noqa: N815
    imageWidth: _Side | None = None  # noqa: N815


@dataclass(frozen=True)
class LabelmeResult:
    """The result of a conversion.

    Attributes:
        folder: the folder to give as ``data`` from now on.
        num_pairs: number of images with their labels.
        num_shapes: number of drawn shapes of each class.
    """

    folder: Path
    num_pairs: int
    num_shapes: dict[str, int]


def convert(
    root: str | Path,
    output_dir: str | Path,
    names: Sequence[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LabelmeResult:
    """Draw the shapes of every JSON file of a folder, and copy the images beside them.

    Args:
        root: folder with the JSON files; their images are at the stated path, or inside them.
        output_dir: a new folder.
        names: the classes, in the order of the ids; the first is for pixels that no shape covers.
        overwrite: whether files of an earlier run may be replaced.
        progress: called with (steps done, steps in all), two per file: one when it is read, one when it is drawn.

    Raises:
        InputError: a file is not labelme's, a label is none of the classes, a shape has no area, or an image is
            missing. All files are read before the first is written.
    """
    root, output_dir = Path(root), Path(output_dir)
    ids = {name: index for index, name in enumerate(names)}
    classes = checked(
        "the classes",
        Classes(names=tuple(names), palette=default_palette(min(len(names), MAX_CLASSES)), ignore_index=VOC_IGNORE),
    )
    ids = {_BACKGROUND: 0, _IGNORE: VOC_IGNORE} | ids
    files = sorted(root.glob("*.json")) if root.is_dir() else []
    files = [path for path in files if path.name != "classes.json"]
    if not files:
        what = "has no .json files of labelme" if root.is_dir() else "is no folder"
        raise InputError(f"'{root}' {what}.")
    refuse_existing(output_dir / "classes.json", overwrite=overwrite)
    if output_dir.absolute() == root.absolute():
        raise InputError(f"'{output_dir}' has the annotations; give a new folder.")
    # Neither the documents nor the images are kept, only sizes: a document may have its image inside.
    sizes_hw: dict[Path, tuple[int, int]] = {}
    for done, path in enumerate(files, 1):
        document = _read(path, ids)
        sizes_hw[path] = _size(path, document, _image(path, document)[1])
        if progress:
            progress(done, 2 * len(files))
    num_shapes: Counter[str] = Counter()
    with writing_folder(output_dir):
        for done, path in enumerate(files, len(files) + 1):
            document = _read(path, ids)
            suffix, content = _image(path, document)
            label = draw(document.shapes, sizes_hw[path], ids)
            num_shapes.update(shape.label for shape in document.shapes)
            write_bytes(output_dir / "images" / f"{path.stem}{suffix}", content, overwrite=overwrite)
            write_bytes(output_dir / "labels" / f"{path.stem}.png", encode_image(label), overwrite=overwrite)
            if progress:
                progress(done, 2 * len(files))
        # Last: a folder without it belongs to a run that was stopped.
        table = json.dumps(classes.to_dict(), indent=2) + "\n"
        write_text(output_dir / "classes.json", table, overwrite=overwrite)
    return LabelmeResult(output_dir, len(files), {name: num_shapes[name] for name in names})


def draw(shapes: Sequence[Shape], size_hw: tuple[int, int], ids: dict[str, int]) -> NDArray[np.uint8]:
    """Draw shapes in their order, a later one over an earlier one.

    Args:
        shapes: labelme's.
        size_hw: ``(H, W)`` of the image.
        ids: id of each label.

    Returns:
        ``(H, W)`` uint8, 0 where there is no shape; the pixels that labelme's own export would fill.
    """
    height, width = size_hw
    canvas = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(canvas)
    for shape in shapes:
        class_id, points = ids[shape.label], list(shape.points)
        if shape.kind == "polygon":
            pen.polygon(points, outline=class_id, fill=class_id)
        elif shape.kind == "rectangle":
            (left, right), (top, bottom) = (sorted(side) for side in zip(*points, strict=True))
            pen.rectangle((left, top, right, bottom), outline=class_id, fill=class_id)
        else:
            (x, y), edge = points
            radius = math.dist((x, y), edge)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=class_id, fill=class_id)
    return np.array(canvas, np.uint8)


def _read(path: Path, ids: dict[str, int]) -> _Document:
    """Read a file, if it is labelme's and every shape can be drawn."""
    try:
        document = decode(read_text(path, _MAX_DOCUMENT), _Document)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (WrongValue, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not a JSON file of labelme: {error}.") from error
    for shape in document.shapes:
        label, kind, num_points = shape.label, shape.kind, len(shape.points)
        if label not in ids:
            hint = did_you_mean(label, ids)
            raise InputError(f"'{path}' has the label '{label}', which is none of the classes.{hint}")
        if kind not in _SHAPES:
            raise InputError(f"'{path}' has a shape '{kind}' of '{label}'; accepted: {', '.join(_SHAPES)}.")
        if num_points < 3 if kind == "polygon" else num_points != 2:
            raise InputError(
                f"'{path}' has a {kind} of '{label}' with {counted(num_points, 'point')}, which has no area."
            )
    if (total := sum(len(shape.points) for shape in document.shapes)) > MOST_POINTS:
        raise InputError(f"'{path}' has {total} points; at most {MOST_POINTS} are drawn.")
    return document


def _check_crossed(path: Path, document: _Document, height: int) -> None:
    """Refuse polygons that go up and down so often that to draw them takes minutes."""
    crossed = 0.0
    for shape in document.shapes:
        rows = np.clip([y for _, y in shape.points], 0, height)
        crossed += float(np.abs(np.diff(rows, append=rows[:1])).sum())
    if crossed > _MOST_CROSSED:
        raise InputError(
            f"the polygons of '{path}' go up and down over {crossed:.0f} rows in all; at most {_MOST_CROSSED} "
            "are drawn."
        )


def _image(path: Path, document: _Document) -> tuple[str, bytes]:
    """Return suffix and bytes of the image: the one beside the file, else the one inside it."""
    # A path written on Windows has backslashes, and its folder is often gone: then the name beside the JSON is used.
    named = PureWindowsPath(document.imagePath or "")
    suffix = named.suffix.lower()
    for candidate in (path.parent / named.as_posix(), path.parent / named.name):
        if suffix in IMAGE_SUFFIXES and os.path.isfile(candidate):  # noqa: PTH113 - false of a name that is too long
            return candidate.suffix, read_bytes(candidate).tobytes()
    inside = document.imageData
    if not inside:
        raise InputError(f"the image '{named}' of '{path}' is neither beside it nor inside it.")
    try:
        content = base64.b64decode(inside, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InputError(f"'{path}' has an imageData that is not base64: {error}.") from error
    return (suffix if suffix in IMAGE_SUFFIXES else ".png"), content


def _size(path: Path, document: _Document, content: bytes) -> tuple[int, int]:
    """Return ``(H, W)`` of the image, which must be the size that the shapes were drawn on."""
    height, width = decode_image(path, np.frombuffer(content, np.uint8)).shape[:2]
    stated_hw = (document.imageHeight or height, document.imageWidth or width)
    if stated_hw != (height, width):
        shown = f"({stated_hw[0]:g}, {stated_hw[1]:g})"
        raise InputError(f"'{path}' was drawn on an image of {shown}, but its image is {(height, width)}.")
    _check_crossed(path, document, height)
    return height, width
