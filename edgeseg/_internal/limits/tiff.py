"""Read what the pages of a TIFF say of themselves (TIFF 6.0, BigTIFF), before a library decodes one of them.

Libraries decode one page as red, green and blue, and say nothing of what they omit: the channels of an OME-TIFF on
pages of their own, the second of two bands, tiles of JPEG 2000, which OpenCV draws black.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from edgeseg._internal.fields import short_repr
from edgeseg.errors import InputError

#: First bytes of a TIFF and of a BigTIFF, in either order of bytes.
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Compressions of tiles that are JPEG 2000: Aperio's two and the registered one.
JPEG_2000 = (33003, 33005, 34712)

_MOST_ENTRIES, _MOST_PAGES = 4096, 1000
# Of all pages: directories may overlap, so that a small file has millions.
_MOST_ENTRIES_IN_ALL = 200_000
_MOST_DESCRIPTION = 1 << 20
_DESCRIPTION = 270
# Letters of ``struct`` of what numbers in tags are.
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_ASCII = 2
_PLACED = (33550, 33922, 34264, 34735)  # of GeoTIFF: scale, tie points, transform, keys
_TAGS = frozenset({254, 256, 257, 258, 259, 262, _DESCRIPTION, 277, 338, 339, *_PLACED})
# What OpenCV's libtiff decodes, or says that it does not; of any other it gives black.
_DECODED = frozenset({*range(1, 9), 32771, 32773, 32809, 32908, 32909, 32946, 34676, 34677, 34887, 34925, 50000, 50001})
_GRAY = (0, 1)

_OME_PIXELS = re.compile(r"<Pixels\s[^>]{0,2000}>")
_OME_SIZE = re.compile(r"\bSize([CZT])\s*=\s*[\"'](\d{1,9})[\"']")
_OME_DATA = re.compile(r"<TiffData\b([^>]{0,500})>")
_OME_NUMBER = re.compile(r"\b(IFD|First[CZT]|PlaneCount)\s*=\s*[\"'](\d{1,9})[\"']")
_IMAGEJ_SIZE = re.compile(r"^(images|channels|slices|frames)=(\d{1,9})$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class TiffPage:
    """What a page says of itself.

    Attributes:
        number: of the page, from 1 in the order of the file.
        size_wh: ``(width, height)`` in pixels.
        bits: of a number.
        signedness: 1 for numbers from 0, 2 for signed ones, 3 for floats; TIFF's SampleFormat.
        samples: numbers of a pixel.
        extra: what those beyond gray or RGB are; TIFF's first ExtraSamples, 1 and 2 for alpha; ``None`` without any.
        photometric: what they mean; TIFF's PhotometricInterpretation.
        compression: TIFF's Compression.
        subfile: TIFF's NewSubfileType: bit 0 for a smaller copy, bit 2 for a mask.
        is_placed: whether it says where on Earth it is.
        description: of the first page alone; at most a million characters.
    """

    __repr__ = short_repr

    number: int
    size_wh: tuple[int, int]
    bits: int
    signedness: int
    samples: int
    extra: int | None
    photometric: int
    compression: int
    subfile: int
    is_placed: bool
    description: str


def tiff_pages(file: BinaryIO) -> list[TiffPage]:
    """Return the pages of a TIFF in the order of the file, without what is below them; of a thousand at most.

    Args:
        file: open for reading, at any place.

    Raises:
        struct.error: the file ends in the header of the first page, or has none.
        OverflowError: the first page is said to be at no place that any file has.
    """
    file.seek(0)
    magic = file.read(4)
    if magic not in MAGIC:
        raise struct.error("no TIFF")
    order, big = "<" if magic[:2] == b"II" else ">", 43 in magic[2:]
    header, seen, pages = _Header(file, order, big), set[int](), list[TiffPage]()
    place = header.first()
    while place and place not in seen and len(seen) < _MOST_PAGES and header.entries < _MOST_ENTRIES_IN_ALL:
        seen.add(place)
        try:
            tags, place = header.directory(place)
        except (struct.error, OverflowError):
            if not pages:
                raise
            break  # pages of which the file says nothing
        page = _page(tags, len(seen))
        if page is not None:
            pages.append(page)
        elif not pages:
            raise struct.error("a page without a size")
    if not pages:
        raise struct.error("no page")
    return pages


def tiff_size(data: bytes) -> tuple[int, int] | None:
    """Return ``(width, height)`` of the first page, the only one that is decoded; ``None`` where it does not say it.

    Args:
        data: a TIFF, or its beginning.

    Raises:
        struct.error: the data end before the first page.
        OverflowError: it is said to be at no place that any file has.
    """
    file = BytesIO(data)
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    header = _Header(file, order, big)
    page = _page(header.directory(header.first())[0], 1)
    return None if page is None else page.size_wh


def siblings(pages: list[TiffPage]) -> list[TiffPage]:
    """Return the pages that are as large as the first, with it, and neither smaller copies nor masks."""
    first = pages[0]
    return [first, *(page for page in pages[1:] if page.size_wh == first.size_wh and not page.subfile & 5)]


def channels_on_pages(pages: list[TiffPage]) -> bool:
    """Return whether the pages are the channels of one image, in their order, as OME-XML or ImageJ says of them.

    Args:
        pages: as ``siblings`` returns them.
    """
    text, count = pages[0].description, len(pages)
    if any(page.samples != 1 for page in pages):
        return False
    if text.startswith("ImageJ="):
        sizes = {name: int(number) for name, number in _IMAGEJ_SIZE.findall(text)}
        return sizes.get("channels") == count and sizes.get("slices", 1) == sizes.get("frames", 1) == 1
    found = _OME_PIXELS.search(text)
    if found is None:
        return False
    sizes = {name: int(number) for name, number in _OME_SIZE.findall(found[0])}
    if sizes != {"C": count, "Z": 1, "T": 1}:
        return False
    for data in _OME_DATA.finditer(text):
        said = {name: int(number) for name, number in _OME_NUMBER.findall(data[1])}
        if said.get("IFD", 0) != said.get("FirstC", 0) or said.get("FirstZ", 0) or said.get("FirstT", 0):
            return False
    return "<UUID FileName" not in text or len(set(re.findall(r"FileName\s*=\s*[\"']([^\"']*)", text))) <= 1


def stacked(path: str | Path, pages: list[TiffPage]) -> InputError:
    """Build the error for pages of one size, of which only the first would be read."""
    return InputError(
        f"'{path}' has {len(pages)} pages of one size, of which the first alone would be read: write each as a file, "
        "such as with tiffsplit."
    )


def require_image(path: str | Path, data: bytes) -> None:
    """Refuse a TIFF of which OpenCV would show something else than the image, without a word.

    Args:
        path: for the error text.
        data: the bytes of the file.

    Raises:
        InputError: it is one; the text says how it is read.
        struct.error: as ``tiff_pages``.
        OverflowError: as ``tiff_pages``.
    """
    _require_image(path, tiff_pages(BytesIO(data)))


def is_image(path: Path) -> bool:
    """Return whether a TIFF is what OpenCV shows of it, see ``require_image``; also where it cannot be read."""
    if not path.is_file():  # a pipe might be waited for
        return True
    try:
        with path.open("rb") as file:
            _require_image(path, tiff_pages(file))
    except InputError:
        return False
    except (OSError, struct.error, OverflowError):
        return True
    return True


def _require_image(path: str | Path, pages: list[TiffPage]) -> None:
    page, large = pages[0], siblings(pages)
    raster = "; edgeseg predict reads it as a raster, with `bands` and `band_range`"
    if page.compression not in _DECODED:
        way = "as a raster, with `bands=(1, 2, 3)`" if page.compression in JPEG_2000 else "as a copy without it"
        raise InputError(f"'{path}' has the compression {page.compression} of TIFF; edgeseg predict reads it {way}.")
    if len(large) > 1:
        if channels_on_pages(large):
            raise InputError(f"'{path}' has {len(large)} channels on pages of their own{raster}.")
        raise stacked(path, large)
    numbers = f"{page.bits}-bit {('numbers', 'signed numbers', 'floats')[min(max(page.signedness, 1), 3) - 1]}"
    plain = page.bits <= 16 and page.signedness in (0, 1, 4)
    # Of gray, only alpha may be beside it: of further bands OpenCV shows the first.
    gray = page.photometric in _GRAY and page.samples > 1 + (page.samples == 2 and page.extra in (1, 2))
    bands = gray or page.samples > 4
    if not plain or bands:
        count = f"{page.samples} bands of " if page.samples > 1 else ""
        raise InputError(f"'{path}' has {count}{numbers}; an image has gray or RGB of 8 or 16 bits{raster}.")


class _Header:
    """Reads directories of tags, and counts the entries that it went through."""

    def __init__(self, file: BinaryIO, order: str, big: bool) -> None:
        self._file, self._order, self._big = file, order, big
        self.entries = 0
        self._word, self._entry, self._inline = ("Q", 20, 8) if big else ("I", 12, 4)

    def first(self) -> int:
        return int(self._numbers(8 if self._big else 4, self._word)[0])

    def directory(self, place: int) -> tuple[dict[int, int | str], int]:
        """Return the first number, or the text, of each tag; and where the next directory is, 0 for none."""
        count = self._numbers(place, "Q" if self._big else "H")[0]
        start, held = place + (8 if self._big else 2), min(count, _MOST_ENTRIES)
        entries = self._bytes(start, held * self._entry)
        self.entries += held
        tags: dict[int, int | str] = {}
        for at in range(0, len(entries), self._entry):
            tag, kind, length = struct.unpack_from(f"{self._order}HH{self._word}", entries, at)
            value = at + self._entry - self._inline
            if tag not in _TAGS or tag in tags or not length or (tag == _DESCRIPTION and self.entries > held):
                continue
            try:
                found = self._value(kind, length, entries, value)
            except (struct.error, OverflowError):
                continue  # of a head alone, or damaged: whoever decodes the page says so
            if found is not None:
                tags[tag] = found
        try:
            return tags, int(self._numbers(start + count * self._entry, self._word)[0])
        except (struct.error, OverflowError):
            return tags, 0  # the last page may end the file

    def _value(self, kind: int, length: int, entries: bytes, at: int) -> int | str | None:
        if kind in _NUMBERS:
            size = struct.calcsize(f"={_NUMBERS[kind]}")
            if size * length <= self._inline:
                return int(struct.unpack_from(f"{self._order}{_NUMBERS[kind]}", entries, at)[0])
            (place,) = struct.unpack_from(f"{self._order}{self._word}", entries, at)
            return int(self._numbers(place, _NUMBERS[kind])[0])
        if kind == _ASCII and length > self._inline:
            (place,) = struct.unpack_from(f"{self._order}{self._word}", entries, at)
            return self._bytes(place, min(length, _MOST_DESCRIPTION)).decode("utf-8", "replace")
        return 0 if kind in (5, 11, 12) else None  # fractions and floats: that they are there is enough

    def _numbers(self, place: int, form: str) -> tuple[int, ...]:
        return struct.unpack(f"{self._order}{form}", self._bytes(place, struct.calcsize(f"={form}")))

    def _bytes(self, place: int, count: int) -> bytes:
        if place >= 1 << 63:
            raise OverflowError("it points beyond any file")
        self._file.seek(place)
        data = self._file.read(count)
        if len(data) < count:
            raise struct.error("the file ends in a header")
        return data


def _page(tags: dict[int, int | str], number: int) -> TiffPage | None:
    """Return a page by its tags; ``None`` where it has no size."""

    def said(tag: int, default: int) -> int:
        value = tags.get(tag)
        return value if isinstance(value, int) else default

    if not {256, 257} <= tags.keys():
        return None
    description = tags.get(_DESCRIPTION)
    return TiffPage(
        number=number,
        size_wh=(said(256, 0), said(257, 0)),
        bits=said(258, 1),
        signedness=said(339, 1),
        samples=said(277, 1),
        extra=said(338, 0) if 338 in tags else None,
        photometric=said(262, 1),
        compression=said(259, 1),
        subfile=said(254, 0),
        is_placed=any(tag in tags for tag in _PLACED),
        description=description if isinstance(description, str) else "",
    )
