"""Read tiled TIFFs of microscopes through tifffile, and other slides through OpenSlide, where that is installed."""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.tiff import siblings, stacked, tiff_pages
from edgeseg.errors import BackendUnavailable, InputError, missing_extra
from edgeseg.polygons.georeference import Georeference
from edgeseg.rasters.base import require_bounds

#: Bytes of tiles that are kept decoded, for windows that overlap.
_CACHE_BYTES = 1 << 27
_MAX_TILES = 1 << 24


class SlideTiff:
    """The full resolution of a slide: the first image of a TIFF, whose pixels are in tiles with all bands together.

    See ``base.Raster`` for the attributes.
    """

    georeference: Georeference | None = None
    has_gaps = False

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: it is no TIFF, is damaged, has another arrangement, or see ``base.require_bounds``.
            BackendUnavailable: tifffile is not installed.
        """
        try:
            import tifffile
        except ModuleNotFoundError as error:
            raise missing_extra("a slide", "geo") from error
        self.name = str(path)
        # What tifffile and the codecs raise on damaged files.
        self._errors = (tifffile.TiffFileError, OSError, ValueError, LookupError, RuntimeError, TypeError,
                        AttributeError, struct.error, zlib.error, ImportError)  # fmt: skip
        with ExitStack() as refused:
            try:
                self._file = refused.enter_context(tifffile.TiffFile(path))
                self._page = self._file.pages.first
                arranged = self._is_arranged()
                self.size_hw = (int(self._page.imagelength), int(self._page.imagewidth))
                self.num_bands = int(self._page.samplesperpixel) - len(self._page.extrasamples)
            except self._errors as error:
                raise self._unreadable(error) from error
            if not arranged or self.num_bands < 1:
                raise InputError(
                    f"'{path}' is no slide: its first image must be in tiles, with gray or red, green and blue "
                    "together. Make such a copy, for instance with vips."
                )
            self._require_one_page(path)
            self.dtype = str(np.dtype(self._page.dtype).name)
            self._tile_hw = (int(self._page.tilelength), int(self._page.tilewidth))
            pixel_bytes = int(self._page.samplesperpixel) * np.dtype(self.dtype).itemsize
            self._tile_bytes = self._tile_hw[0] * self._tile_hw[1] * pixel_bytes
            require_bounds(self.name, self.size_hw, self.dtype, self._tile_bytes)
            across, down = self._tiles()
            if across * down > _MAX_TILES:
                raise InputError(f"'{path}' has {across * down} tiles; accepted: {_MAX_TILES}.")
            refused.pop_all()
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def read(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Return a part of some bands; see ``base.Raster.read``."""
        tall, wide = self._tile_hw
        across, _ = self._tiles()
        part = np.zeros((height, width, len(bands)), self.dtype)
        for row in range(top // tall, (top + height - 1) // tall + 1):
            for column in range(left // wide, (left + width - 1) // wide + 1):
                tile = self._tile(row * across + column)[..., [band - 1 for band in bands]]
                y, x = row * tall, column * wide
                tile = tile[max(0, top - y) : top + height - y, max(0, left - x) : left + width - x]
                down, right = max(0, y - top), max(0, x - left)
                part[down : down + tile.shape[0], right : right + tile.shape[1]] = tile
        return part

    def valid(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
        """Return where a band has a value, which is everywhere."""
        return np.ones((height, width), np.bool_)

    def close(self) -> None:
        """Close the file."""
        self._kept.clear()
        self._file.close()

    def _require_one_page(self, path: Path) -> None:
        """Refuse channels, or slices, on pages of their own."""
        try:
            with path.open("rb") as file:
                pages = siblings(tiff_pages(file))
        except (OSError, struct.error, OverflowError) as error:
            raise self._unreadable(error) from error
        if len(pages) > 1:
            raise stacked(path, pages)

    def _is_arranged(self) -> bool:
        """Return whether the image is in tiles of plain numbers, with the bands of a pixel together."""
        page = self._page
        return bool(
            page.is_tiled
            and min(page.tilelength, page.tilewidth) >= 1
            and (page.planarconfig, page.imagedepth, page.tiledepth) == (1, 1, 1)
            and page.photometric.name in ("RGB", "YCBCR", "MINISBLACK")
            and page.dtype is not None
        )

    def _tiles(self) -> tuple[int, int]:
        """Return how many tiles are beside and below each other."""
        return -(-self.size_hw[1] // self._tile_hw[1]), -(-self.size_hw[0] // self._tile_hw[0])

    def _tile(self, index: int) -> NDArray[Any]:
        """Return a tile, ``(h, w, bands)``; what the file does not have is 0."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        try:
            offset, size = self._page.dataoffsets[index], self._page.databytecounts[index]
            if size > 2 * self._tile_bytes + (1 << 20):
                raise ValueError(f"a tile claims {size} bytes")
            handle = self._file.filehandle
            handle.seek(offset)
            data = handle.read(size) if size else None
            decoded, _, shape = self._page.decode(data, index, jpegtables=self._page.jpegtables)
            tile = np.zeros((*self._tile_hw, self._page.samplesperpixel), self.dtype)
            if decoded is not None:
                tile[: shape[1], : shape[2]] = decoded[0, : shape[1], : shape[2]]
        except self._errors as error:
            raise self._unreadable(error) from error
        self._kept[index] = tile
        while len(self._kept) * self._tile_bytes > max(_CACHE_BYTES, self._tile_bytes):
            self._kept.popitem(last=False)
        return tile

    def _unreadable(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        return InputError(f"'{self.name}' cannot be read as a slide: {reason}.")


class OpenSlideRaster:
    """The full resolution of a slide that OpenSlide opens; see ``base.Raster`` for the attributes."""

    georeference: Georeference | None = None
    has_gaps = True
    num_bands = 3
    dtype = "uint8"

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: OpenSlide refuses it, or see ``base.require_bounds``.
            BackendUnavailable: OpenSlide is not installed.
        """
        try:
            import openslide
        except (ModuleNotFoundError, OSError) as error:  # the library itself may be missing
            raise BackendUnavailable(
                f"'{path}' is read by OpenSlide, which is not installed; no extra has it. Install it with: pip install "
                "openslide-python openslide-bin"
            ) from error
        self.name = str(path)
        self._errors = (openslide.OpenSlideError, OSError, ValueError)
        try:
            self._file = openslide.OpenSlide(path)
            width, height = self._file.dimensions
        except self._errors as error:
            raise self._unreadable(error) from error
        self.size_hw = (int(height), int(width))
        try:
            require_bounds(self.name, self.size_hw, self.dtype, 0)
        except InputError:
            self._file.close()
            raise

    def read(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Return a part of some bands; see ``base.Raster.read``."""
        return self._region(top, left, height, width)[..., [band - 1 for band in bands]]

    def valid(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
        """Return where the scanner was, see ``base.Raster.valid``."""
        return np.asarray(self._region(top, left, height, width)[..., 3] > 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _region(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        try:
            return np.asarray(self._file.read_region((left, top), 0, (width, height)))
        except self._errors as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        return InputError(f"'{self.name}' cannot be read by OpenSlide: {reason}.")
