"""Convert label images to class ids, in any encoding."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeseg._internal.limits.images import check_image_size
from edgeseg._internal.spread import spread
from edgeseg._internal.text import counted
from edgeseg.choices import LabelEncoding
from edgeseg.datasets.classes import VOC_IGNORE, Classes
from edgeseg.datasets.faults import BadExample
from edgeseg.errors import InputError
from edgeseg.imaging import read_bytes
from edgeseg.spec import Color, default_palette

# Labels that are read to recognize their encoding: one alone may show no more than the background.
_NUM_LOOKED_AT = 16

# A mask that a JPEG or antialiasing went over: more levels than two ids and an ignored one, and most pixels still near
# its two ends. The gray of a drawn edge, 3 pixels around a disk of 1/16 of the image, is 7 % of the pixels.
_MANY_LEVELS, _NEAR, _SHARE_NEAR = 8, 32, 0.9

# Channels of a gray image that a lossy format keeps in color differ by its rounding.
_LOSSY_GRAY = 24


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
    bright: NDArray[np.bool_] = _gray(path, image) > classes.binary_threshold
    return (bright if encoding == "binary" else ~bright).astype(np.uint8)


def recognize_encoding(paths: Sequence[Path], classes: Classes) -> LabelEncoding:
    """Recognize the encoding of some label images.

    Gray and palette images have ids; unless there are two classes, no ignored id, and the values are those of a binary
    mask: 0 and another one above 127, or levels close to such two. Color images have colors, unless all their pixels
    are gray.

    Args:
        paths: of the labels; a few are read, those that do not decode are skipped.
        classes: their classes; an encoding that they state decides.
    """
    if classes.label_encoding is not None:
        return classes.label_encoding
    levels = np.zeros(256, np.int64)
    for path in spread(paths, _NUM_LOOKED_AT):
        try:
            levels += np.bincount(_in_8_bits(_stored_numbers(path, _open(path))).ravel(), minlength=256)[:256]
        except BadExample as fault:
            if fault.kind == "not_ids":
                return "colors"
    return "binary" if _is_two_class(classes) and _is_mask(levels) else "ids"


def read_palette(path: Path) -> bytes:
    """Read the palette of a label image, three bytes (RGB) for each index; empty where it has none."""
    with Image.open(path) as image:
        return bytes(image.getpalette() or b"") if image.mode == "P" and image.format != "GIF" else b""


def is_lossy(path: Path) -> bool:
    """Return whether a file is in a format that changes its pixels: a JPEG, or a WebP that is not lossless."""
    with path.open("rb") as file:
        start = file.read(64)
    return start.startswith(b"\xff\xd8") or (start[8:12] == b"WEBP" and b"VP8 " in start)


def _open(path: Path) -> Image.Image:
    """Decode with Pillow: OpenCV turns a palette's indices into colors and 1-bit ids into 0 and 255."""
    try:
        data = read_bytes(path).tobytes()
        check_image_size(path, data)
        image = Image.open(io.BytesIO(data))
        image.load()
    except InputError as error:
        raise BadExample("does_not_decode", path, str(error)) from error
    except Image.DecompressionBombError as error:
        text = f"'{path}' has more pixels than Pillow reads: {error} PIL.Image.MAX_IMAGE_PIXELS sets another limit."
        raise BadExample("does_not_decode", path, text) from error
    except (OSError, SyntaxError, ValueError) as error:
        text = f"'{path}' does not decode as an image; it may be truncated or no image at all."
        raise BadExample("does_not_decode", path, text) from error
    return image


def _stored_numbers(path: Path, image: Image.Image) -> NDArray[np.integer]:
    """Read the gray values or palette indices as they are in the file, ``(H, W)``."""
    if image.format == "GIF":  # its writers number the colors as they like
        image = image.convert("RGB")
    # A copy: Pillow's own buffer is read-only.
    numbers: NDArray[np.integer] = np.array(image, np.uint8 if image.mode == "1" else None)
    if image.mode in ("LA", "La"):
        return numbers[..., 0]
    if numbers.ndim == 3:
        if (numbers[..., 0] == numbers[..., 1]).all() and (numbers[..., 1] == numbers[..., 2]).all():
            return numbers[..., 0]
        if is_lossy(path) and np.ptp(numbers.astype(np.int16), axis=-1).max() <= _LOSSY_GRAY:
            return np.asarray(image.convert("L"))
        text = (
            f"'{path}' has colors, not ids; give `label_encoding='colors'`, and the colors of the classes: "
            "`color_map='FILE'` with a line for each, such as 'road 128 64 128'."
        )
        raise BadExample("not_ids", path, text)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise BadExample("not_ids", path, f"'{path}' has values of type {numbers.dtype}; ids are whole numbers.")
    if image.mode == "L" and image.format == "PNG":
        # A PNG of 2 or 4 bits is stretched to 0..255 by every decoder; byte 24, in the header, has the depth.
        bits = _bit_depth(path)
        return numbers // (255 // (2**bits - 1)) if bits < 8 else numbers
    return numbers


def _in_8_bits(numbers: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return gray values of 16 bits as those of 8; ids are too small to be meant."""
    return numbers // 257 if numbers.max(initial=0) > 255 else numbers.clip(0)


def _gray(path: Path, image: Image.Image) -> NDArray[np.integer]:
    """Return the brightness of each pixel, 0 to 255."""
    return _in_8_bits(_stored_numbers(path, image)) if image.mode.startswith("I") else np.asarray(image.convert("L"))


def _is_two_class(classes: Classes) -> bool:
    return len(classes.names) == 2 and classes.ignore_index is None


def _is_mask(levels: NDArray[np.int64]) -> bool:
    """Return whether gray levels, ``(256,)`` pixels of each, are those of a binary mask and cannot be two ids."""
    used = np.flatnonzero(levels)
    top = int(used.max(initial=0))
    if top <= 127:
        return False
    if set(used.tolist()) <= {0, top}:
        return True
    near = levels[:_NEAR].sum() + levels[top + 1 - _NEAR :].sum()
    return len(used) >= _MANY_LEVELS and bool(near >= _SHARE_NEAR * levels.sum())


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
        shown = ", ".join(
            f"{number} ({counted(count, 'pixel')})" for number, count in zip(ids[:5], counts[:5], strict=True)
        )
        rest = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
        besides = "no ignored id" if ignored is None else f"the ignored id {ignored}"
        text = f"'{path}' has ids that are no class: {shown}{rest}; there are {num_classes} classes and {besides}."
        raise BadExample("id_out_of_range", path, f"{text}{_advice(path, np.unique(numbers), ids, classes)}")
    return numbers.astype(np.uint8, copy=False)


def _advice(path: Path, values: NDArray[np.integer], unknown: NDArray[np.integer], classes: Classes) -> str:
    """Return the options that read a label, by what its values look like.

    Args:
        path: the label.
        values: all that occur in it.
        unknown: those that are no class.
        classes: the classes.
    """
    names, top = classes.names, int(values.max())
    if unknown.tolist() == [255]:
        binary = " or `label_encoding='binary'`" if len(names) == 2 else ""
        return f" Where 255 is no class, give `ignore_index=255`{binary}."
    if unknown.tolist() == [len(names)] and classes.ignore_index is None:
        ids = f"are 0 to {top}" if values[0] == 0 else "start at 1"
        shifted = ",".join(("unused", *names))
        return f" The ids {ids}: where 0 is no class, give `classes={shifted!r}, ignore_index=0`."
    if is_lossy(path):
        mask = f" {_mask_advice(names)}" if _is_two_class(classes) else ""
        return f" JPEG and WebP change ids; labels are PNG.{mask}"
    if top < 256 and len(values) <= len(names):
        line = f"{names[-1]} {top} {top} {top}"
        return f" Where they are gray levels, give `color_map='FILE'` with a line for each class, such as '{line}'."
    if _is_two_class(classes):
        return f" {_mask_advice(names)}"
    return " Ids in between come from resizing labels with interpolation; nearest neighbor makes none."


def _mask_advice(names: Sequence[str]) -> str:
    return f"Where it is a mask, give `label_encoding='binary'`: what is brighter than 127 is '{names[1]}'."


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
        shown = ", ".join(f"{_rgb(int(colors[i]))} ({counted(counts[i], 'pixel')})" for i in order)
        rest = f" and {len(colors) - 5} more" if len(colors) > 5 else ""
        noun = "color that is" if len(colors) == 1 else "colors that are"
        advice = _outline_advice(colors) or _color_advice(path, codes, colors[order], classes)
        text = f"'{path}' has {len(colors)} {noun} no class: {shown}{rest}.{advice}"
        raise BadExample("unknown_color", path, text)
    return ids.astype(np.uint8)


def _outline_advice(unknown: NDArray[np.int32]) -> str:
    """Return the option that reads VOC's masks as RGB, where their outline is the only color of no class."""
    if [_rgb(code) for code in unknown.tolist()] != [str(default_palette(256)[VOC_IGNORE])]:
        return ""
    return f" It is VOC's outline between objects: give `ignore_index={VOC_IGNORE}`."


def _color_advice(path: Path, codes: NDArray[np.int32], unknown: NDArray[np.int32], classes: Classes) -> str:
    """Return what reads a label with colors of no class, the most frequent ones of which are given."""
    if is_lossy(path):
        return " JPEG and WebP change colors; labels are PNG."
    present = {_rgb(code) for code in np.unique(codes).tolist()}
    if len(present) > 2 * len(classes.names) + 2:
        return " Colors in between come from antialiasing or interpolation; resizing with nearest neighbor makes none."
    absent = [name for name, color in zip(classes.names, classes.palette, strict=False) if str(color) not in present]
    line = f"{(absent or classes.names)[0]} {_rgb(int(unknown[0]))[1:-1].replace(',', '')}"
    return f" Give `color_map='FILE'`, a text file with a line for each color, such as '{line}'."


def _rgb(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"
