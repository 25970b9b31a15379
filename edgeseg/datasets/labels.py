"""Label pictures to class ids, whatever way they show the classes."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeseg.choices import LabelEncoding
from edgeseg.datasets.classes import Classes
from edgeseg.datasets.faults import BadExample
from edgeseg.errors import InputError
from edgeseg.imaging import read_bytes

# Labels that are looked at to recognise their encoding: one alone may show no more than the background.
_NUM_LOOKED_AT = 16


def read_ids(path: Path, classes: Classes, encoding: LabelEncoding) -> NDArray[np.uint8]:
    """Read a label picture.

    Args:
        path: the picture.
        classes: its classes.
        encoding: how it shows them.

    Returns:
        ``(H, W)`` uint8: class ids, and ``ignore_index``.

    Raises:
        BadExample: the picture does not decode, or has an id or a colour that is no class; the text counts them.
    """
    picture = _open(path)
    if encoding == "colours":
        return _from_colours(path, np.asarray(picture.convert("RGB")), classes)
    if encoding == "ids":
        return _checked_ids(path, _stored_numbers(path, picture), classes)
    bright: NDArray[np.bool_] = np.asarray(picture.convert("L")) > classes.binary_threshold
    return (bright if encoding == "binary" else ~bright).astype(np.uint8)


def recognise_encoding(paths: Sequence[Path], classes: Classes) -> LabelEncoding:
    """The encoding of some label pictures.

    Grey and palette pictures have ids; unless there are two classes, no ignored id, and the values 0 and 255 only:
    a binary mask. Colour pictures have colours; unless they are grey after all.

    Args:
        paths: of the labels; a few are read, those that do not decode are passed over.
        classes: their classes, whose own word counts where they have one.
    """
    if classes.label_encoding is not None:
        return classes.label_encoding
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _NUM_LOOKED_AT)).round().astype(int))
    values: set[int] = set()
    for index in chosen:
        try:
            picture = _open(paths[index])
            values |= set(np.unique(_stored_numbers(paths[index], picture)).tolist())
        except BadExample as fault:
            if fault.kind == "not_ids":
                return "colours"
    is_binary = len(classes.names) == 2 and classes.ignore_index is None and 255 in values and values <= {0, 255}
    return "binary" if is_binary else "ids"


def read_palette(path: Path) -> bytes:
    """The palette of a label picture, three bytes (RGB) for each index; empty where it has none."""
    with Image.open(path) as picture:
        return bytes(picture.getpalette() or b"") if picture.mode == "P" else b""


def _open(path: Path) -> Image.Image:
    """Decode, with Pillow: OpenCV turns a palette's indices into colours and 1-bit ids into 0 and 255."""
    try:
        picture = Image.open(io.BytesIO(read_bytes(path).tobytes()))
        picture.load()
    except InputError as error:
        raise BadExample("does_not_decode", path, str(error)) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = f"'{path}' does not decode as a picture; it may be truncated or no picture at all."
        raise BadExample("does_not_decode", path, text) from error
    return picture


def _stored_numbers(path: Path, picture: Image.Image) -> NDArray[np.integer]:
    """``(H, W)``: grey values or palette indices as they are in the file."""
    # A copy: what Pillow lends is read-only.
    numbers: NDArray[np.integer] = np.array(picture, np.uint8 if picture.mode == "1" else None)
    if picture.mode in ("LA", "La"):
        return numbers[..., 0]
    if numbers.ndim == 3:
        if (numbers[..., 0] == numbers[..., 1]).all() and (numbers[..., 1] == numbers[..., 2]).all():
            return numbers[..., 0]
        text = f"'{path}' has colours, not ids; give --label-encoding colours, and the colours of the classes."
        raise BadExample("not_ids", path, text)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise BadExample("not_ids", path, f"'{path}' has values of type {numbers.dtype}; ids are whole numbers.")
    if picture.mode == "L" and picture.format == "PNG":
        # A PNG of 2 or 4 bits is stretched to 0..255 by every decoder; byte 24, in the header, tells.
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
def _colour_table(classes: Classes) -> NDArray[np.int16]:
    """``(2**24,)``: the id of every colour ``r * 65536 + g * 256 + b``, -1 for what is no class.

    32 MB; a search among the known colours takes more than twice as long as this look-up.
    """
    table = np.full(1 << 24, -1, np.int16)
    for (red, green, blue), class_id in [*classes.more_colours, *zip(classes.palette, range(256), strict=False)]:
        table[(red << 16) | (green << 8) | blue] = class_id
    return table


def _from_colours(path: Path, image_rgb: NDArray[np.uint8], classes: Classes) -> NDArray[np.uint8]:
    codes = image_rgb[..., 0].astype(np.int32)
    for channel in (1, 2):
        codes <<= 8
        codes |= image_rgb[..., channel]
    ids = _colour_table(classes)[codes]
    unknown = ids < 0
    if unknown.any():
        colours, counts = np.unique(codes[unknown], return_counts=True)
        order = np.argsort(-counts)[:5]
        shown = ", ".join(f"{_rgb(int(colours[i]))} ({counts[i]} pixels)" for i in order)
        rest = f" and {len(colours) - 5} more" if len(colours) > 5 else ""
        jpeg = " A JPEG changes colours; labels are PNG." if path.suffix.lower() in (".jpg", ".jpeg") else ""
        noun = "colour that is" if len(colours) == 1 else "colours that are"
        text = f"'{path}' has {len(colours)} {noun} no class: {shown}{rest}.{jpeg}"
        raise BadExample("unknown_colour", path, text)
    return ids.astype(np.uint8)


def _rgb(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"
