"""Convert label images to class ids, in any encoding."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeseg._internal.spread import spread
from edgeseg.choices import LabelEncoding
from edgeseg.datasets.classes import VOC_IGNORE, Classes
from edgeseg.datasets.faults import BadExample
from edgeseg.errors import InputError
from edgeseg.imaging import read_bytes
from edgeseg.spec import Color, default_palette

# Labels that are read to recognize their encoding: one alone may show no more than the background.
_NUM_LOOKED_AT = 16


def read_ids(path: Path, classes: Classes, encoding: LabelEncoding) -> NDArray[np.uint8]:
    """Read a label image.

    Args:
        path: the image.
        classes: its classes.
        encoding: how it encodes them.

    Returns:
        ``(H, W)`` uint8: class ids, and ``ignore_index``.

    Raises:
        BadExample: the image does not decode, or has an id or a color that is no class; the text counts them.
    """
    image = _open(path)
    if encoding == "colors":
        return _from_colors(path, np.asarray(image.convert("RGB")), classes)
    if encoding == "ids":
        return _checked_ids(path, _stored_numbers(path, image), classes)
    bright: NDArray[np.bool_] = np.asarray(image.convert("L")) > classes.binary_threshold
    return (bright if encoding == "binary" else ~bright).astype(np.uint8)


def recognize_encoding(paths: Sequence[Path], classes: Classes) -> LabelEncoding:
    """Recognize the encoding of some label images.

    Gray and palette images have ids; unless there are two classes, no ignored id, and only the values 0 and 255:
    a binary mask. Color images have colors, unless all their pixels are gray.

    Args:
        paths: of the labels; a few are read, those that do not decode are skipped.
        classes: their classes; an encoding that they state decides.
    """
    if classes.label_encoding is not None:
        return classes.label_encoding
    values: set[int] = set()
    for path in spread(paths, _NUM_LOOKED_AT):
        try:
            image = _open(path)
            values |= set(np.unique(_stored_numbers(path, image)).tolist())
        except BadExample as fault:
            if fault.kind == "not_ids":
                return "colors"
    is_binary = len(classes.names) == 2 and classes.ignore_index is None and 255 in values and values <= {0, 255}
    return "binary" if is_binary else "ids"


def read_palette(path: Path) -> bytes:
    """Read the palette of a label image, three bytes (RGB) for each index; empty where it has none."""
    with Image.open(path) as image:
        return bytes(image.getpalette() or b"") if image.mode == "P" else b""


def _open(path: Path) -> Image.Image:
    """Decode with Pillow: OpenCV turns a palette's indices into colors and 1-bit ids into 0 and 255."""
    try:
        image = Image.open(io.BytesIO(read_bytes(path).tobytes()))
        image.load()
    except InputError as error:
        raise BadExample("does_not_decode", path, str(error)) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = f"'{path}' does not decode as an image; it may be truncated or no image at all."
        raise BadExample("does_not_decode", path, text) from error
    return image


def _stored_numbers(path: Path, image: Image.Image) -> NDArray[np.integer]:
    """Read the gray values or palette indices as they are in the file, ``(H, W)``."""
    # A copy: Pillow's own buffer is read-only.
    numbers: NDArray[np.integer] = np.array(image, np.uint8 if image.mode == "1" else None)
    if image.mode in ("LA", "La"):
        return numbers[..., 0]
    if numbers.ndim == 3:
        if (numbers[..., 0] == numbers[..., 1]).all() and (numbers[..., 1] == numbers[..., 2]).all():
            return numbers[..., 0]
        text = f"'{path}' has colors, not ids; give --label-encoding colors, and the colors of the classes."
        raise BadExample("not_ids", path, text)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise BadExample("not_ids", path, f"'{path}' has values of type {numbers.dtype}; ids are whole numbers.")
    if image.mode == "L" and image.format == "PNG":
        # A PNG of 2 or 4 bits is stretched to 0..255 by every decoder; byte 24, in the header, has the depth.
        bits = _bit_depth(path)
        return numbers // (255 // (2**bits - 1)) if bits < 8 else numbers
    return numbers


def _bit_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


def _checked_ids(path: Path, numbers: NDArray[np.integer], classes: Classes) -> NDArray[np.uint8]:
    num_classes, ignored = len(classes.names), classes.ignore_index
    unknown = (numbers >= num_classes) | (numbers < 0)
    if ignored is not None:
        unknown &= numbers != ignored
    if unknown.any():
        ids, counts = np.unique(numbers[unknown], return_counts=True)
        shown = ", ".join(f"{number} ({count} pixels)" for number, count in zip(ids[:5], counts[:5], strict=True))
        rest = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
        besides = "no ignored id" if ignored is None else f"the ignored id {ignored}"
        text = f"'{path}' has ids that are no class: {shown}{rest}; there are {num_classes} classes and {besides}."
        raise BadExample("id_out_of_range", path, f"{text}{_advice(ids, classes)}")
    return numbers.astype(np.uint8, copy=False)


def _advice(ids: NDArray[np.integer], classes: Classes) -> str:
    if ids.tolist() != [255]:
        return ""
    binary = " or --label-encoding binary" if len(classes.names) == 2 else ""
    return f" Where 255 is no class, give --ignore-index 255{binary}."


@functools.lru_cache(maxsize=2)
def _color_table(classes: Classes) -> NDArray[np.int16]:
    """Return the id of every color ``r * 65536 + g * 256 + b``, ``(2**24,)``; -1 for a color of no class.

    It has 32 MB; a search among the known colors takes more than twice as long as this look-up.
    """
    table = np.full(1 << 24, -1, np.int16)
    colors = [*_outline(classes), *classes.more_colors, *zip(classes.palette, range(256), strict=False)]
    for (red, green, blue), class_id in colors:
        table[(red << 16) | (green << 8) | blue] = class_id
    return table


def _outline(classes: Classes) -> list[tuple[Color, int]]:
    """Return the color of the ignored id where the classes have VOC's colors: what a palette mask becomes as RGB."""
    voc = default_palette(256)
    ignored = classes.ignore_index
    return [(voc[ignored], ignored)] if ignored is not None and classes.palette == voc[: len(classes.palette)] else []


def _from_colors(path: Path, image_rgb: NDArray[np.uint8], classes: Classes) -> NDArray[np.uint8]:
    codes = image_rgb[..., 0].astype(np.int32)
    for channel in (1, 2):
        codes <<= 8
        codes |= image_rgb[..., channel]
    ids = _color_table(classes)[codes]
    unknown = ids < 0
    if unknown.any():
        colors, counts = np.unique(codes[unknown], return_counts=True)
        order = np.argsort(-counts)[:5]
        shown = ", ".join(f"{_rgb(int(colors[i]))} ({counts[i]} pixels)" for i in order)
        rest = f" and {len(colors) - 5} more" if len(colors) > 5 else ""
        jpeg = " A JPEG changes colors; labels are PNG." if path.suffix.lower() in (".jpg", ".jpeg") else ""
        noun = "color that is" if len(colors) == 1 else "colors that are"
        text = f"'{path}' has {len(colors)} {noun} no class: {shown}{rest}.{jpeg}{_outline_advice(colors)}"
        raise BadExample("unknown_color", path, text)
    return ids.astype(np.uint8)


def _outline_advice(unknown: NDArray[np.int32]) -> str:
    """Return the option that reads VOC's masks as RGB, where their outline is the only color of no class."""
    if [_rgb(code) for code in unknown.tolist()] != [str(default_palette(256)[VOC_IGNORE])]:
        return ""
    return f" It is VOC's outline between objects: give --ignore-index {VOC_IGNORE}."


def _rgb(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"
