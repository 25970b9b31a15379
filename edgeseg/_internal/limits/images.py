"""Read the size that an image claims in its header, and refuse what would fill the memory, before it is decoded.

A PNG of 3 MB can have 30,000 x 30,000 pixels, which are 2.7 GB. Sources: PNG (ISO/IEC 15948, 11.2.2), JPEG (ITU-T
T.81, annex B), TIFF 6.0 and BigTIFF, WebP (RFC 9649), BMP (Microsoft's BITMAPINFOHEADER), GIF89a, JPEG 2000 (ITU-T
T.800, annexes A and I).
"""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path

from edgeseg._internal.limits.tiff import MAGIC, require_image, tiff_size
from edgeseg.errors import InputError

#: Pixels of the largest image that is read, where the variable does not say otherwise.
MAX_IMAGE_PIXELS = 200_000_000
#: The environment variable that changes it, for this process and those that it starts.
VARIABLE = "EDGESEG_MAX_IMAGE_PIXELS"

# Bytes of a pixel in the largest encoding, four channels of 16 bits, and room for the metadata.
_MOST_PER_PIXEL, _ROOM = 8, 1 << 26

# Not the fill byte, and not what has no length: a stuffed 0xFF, the start and the restarts.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
# The start of a frame, which has the size; C4, C8 and CC are tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# The first box of a JP2 file, and the first markers of a codestream: its start and its size.
_MOST_BOXES = 1000
_JP2, _CODESTREAM = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ"


def max_image_pixels() -> int:
    """Return how many pixels an image may have.

    Raises:
        InputError: the environment variable is no number above 0.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return MAX_IMAGE_PIXELS
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text)):
        raise InputError(f"{VARIABLE} must be a number of pixels above 0, got '{text}'.")
    return int(text)


def max_image_bytes() -> int:
    """Return how many bytes the file of an image of that many pixels has at most."""
    return _MOST_PER_PIXEL * max_image_pixels() + _ROOM


def check_image_file(path: str | Path) -> None:
    """Refuse what is no regular file, whose reading may never end, and a file too large to be an accepted image.

    Raises:
        InputError: it is a pipe, a socket or a device, or has more bytes than any image of the accepted size.
        OSError: it does not exist or cannot be looked at.
    """
    about = os.stat(path)  # noqa: PTH116 - a path that is text stays text in the error
    if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
        raise InputError(f"'{path}' is a pipe, a socket or a device, not an image file.")
    if about.st_size > max_image_bytes():
        raise InputError(f"'{path}' has {about.st_size} bytes, more than any image of {max_image_pixels()} pixels.")


def check_image_size(path: str | Path, data: bytes) -> None:
    """Refuse an image by its header: one that is too large, and a TIFF that is no image of gray or RGB.

    Args:
        path: for the error text.
        data: the bytes of the file.

    Raises:
        InputError: it claims more pixels than are accepted, is of no format whose header is known, or see
            ``tiff.require_image``.
    """
    try:
        size_wh = None if _has_endless_chunk(data) else image_size(data)
    except (struct.error, OverflowError):  # the header points beyond the end of the file
        size_wh = None
    if size_wh is None:
        raise InputError(
            f"'{path}' does not decode as an image; it may be truncated or no image at all. Accepted: BMP, GIF, JPEG, "
            "JPEG 2000, PNG, TIFF, WebP."
        )
    width, height = size_wh
    if width * height > max_image_pixels():
        raise InputError(
            f"'{path}' claims {width} x {height} pixels, more than {max_image_pixels()}; "
            f"`{VARIABLE}` sets another limit."
        )
    if data[:4] in MAGIC:
        require_image(path, data)


def png_size(data: bytes) -> tuple[int, int] | None:
    """Return ``(width, height)`` of a PNG as its header says; ``None`` for anything that should not be decoded as one.

    That is no PNG, or one with a chunk that claims more bytes than there are.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or _has_endless_chunk(data):
        return None
    try:
        return image_size(data)
    except (struct.error, OverflowError):
        return None


def refuse_large_input(size: tuple[int, int], what: str) -> None:
    """Refuse the input size of a model that no image may have.

    Args:
        size: ``(H, W)`` in pixels.
        what: what has it, as the start of a sentence.

    Raises:
        InputError: it has more pixels than are accepted.
    """
    if size[0] * size[1] > max_image_pixels():
        height, width = (str(side) if side < 10**9 else "10^9 and more" for side in size)
        raise InputError(
            f"{what} has an input of {height},{width} (H,W), more than the {max_image_pixels()} pixels of the largest "
            "image; give a smaller `input_size`."
        )


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return ``(width, height)`` as the header of an image says; ``None`` where the format is not known.

    Raises:
        struct.error: the data ends in the header.
        OverflowError: the header points at no place that any file has.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _pair(">II", data, 16) if data[12:16] == b"IHDR" else None
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:2] == b"BM":
        (header,) = struct.unpack_from("<I", data, 14)
        width, height = _pair("<HH" if header == 12 else "<ii", data, 18)
        return abs(width), abs(height)  # a negative height: the rows are from top to bottom
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data[:4] in MAGIC:
        return tiff_size(data)
    if data[:12] == _JP2 or data[:4] == _CODESTREAM:
        return _jpeg_2000_size(data)
    return _pair("<HH", data, 6) if data[:4] == b"GIF8" else None


def _has_endless_chunk(data: bytes) -> bool:
    """Return whether a chunk of a PNG claims more bytes than the file has; OpenCV makes room for all, up to 4 GB."""
    position = 8 if data[:8] == b"\x89PNG\r\n\x1a\n" else len(data)
    while position + 4 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if length > len(data):
            return True
        position += 12 + length
    return False


def _pair(form: str, data: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, data, offset)
    return first, second


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        if marker[1][0] in _JPEG_FRAMES:
            height, width = _pair(">HH", data, marker.end() + 3)
            return width, height
        (length,) = struct.unpack_from(">H", data, marker.end())
        position = marker.end() + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = _pair("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    """Return the size that the codestream says: its grid, less where the image begins; ``None`` above 4 channels."""
    start = 0
    for _ in range(_MOST_BOXES if data[:12] == _JP2 else 0):
        length, kind = struct.unpack_from(">I4s", data, start)
        header = 16 if length == 1 else 8
        if kind == b"jp2c":
            start += header
            break
        (length,) = struct.unpack_from(">Q", data, start + 8) if length == 1 else (length,)
        if length < header:  # 0: to the end of the file
            return None
        start += length
    if data[start : start + 4] != _CODESTREAM:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (channels,) = struct.unpack_from(">H", data, start + 40)
    return (right - left, bottom - top) if channels <= 4 and right > left and bottom > top else None
