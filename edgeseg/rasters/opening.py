"""Open a raster by the suffix of its file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from edgeseg._internal.limits.tiff import JPEG_2000, tiff_pages
from edgeseg.errors import InputError
from edgeseg.rasters.base import Raster
from edgeseg.rasters.geotiff import GeoTiff
from edgeseg.rasters.jpeg2000 import Jpeg2000
from edgeseg.rasters.slides import OpenSlideRaster, SlideTiff


def _tiff(path: Path) -> Raster:
    """Open a TIFF; one with tiles of JPEG 2000, which GDAL's TIFF driver does not decode, as a slide."""
    try:
        with path.open("rb") as file:
            page = tiff_pages(file)[0]
    except (OSError, struct.error, OverflowError):
        return GeoTiff(path)
    if page.compression not in JPEG_2000:
        return GeoTiff(path)
    if page.is_placed:
        raise InputError(
            f"'{path}' has tiles of JPEG 2000 and a place on Earth, which are read together by no library at hand; "
            "make a copy with other tiles."
        )
    return SlideTiff(path)


#: What opens files of each suffix.
_OPENERS: Mapping[str, Callable[[Path], Raster]] = {
    **dict.fromkeys((".tif", ".tiff", ".gtiff"), _tiff),
    **dict.fromkeys((".jp2", ".j2k", ".jpx"), Jpeg2000),
    **dict.fromkeys((".svs", ".ndpi", ".scn", ".qptiff", ".btf"), SlideTiff),
    **dict.fromkeys((".mrxs", ".vms", ".vmu", ".bif", ".svslide"), OpenSlideRaster),
}
#: Suffixes of files that are read by windows.
RASTER_SUFFIXES = frozenset(_OPENERS)


@contextmanager
def open_raster(path: str | Path) -> Iterator[Raster]:
    """Open a GeoTIFF or JPEG 2000 through rasterio, or a slide through tifffile or OpenSlide, while the block runs.

    Raises:
        InputError: the file is missing, is no regular file, is damaged, or of another kind.
        BackendUnavailable: the package that reads it is not installed.
    """
    path = Path(path)
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise InputError(f"'{path}' cannot be read by windows; accepted: {', '.join(sorted(RASTER_SUFFIXES))}.")
    if not path.is_file():
        raise InputError(f"'{path}' " + ("is no regular file." if path.exists() else "does not exist."))
    with closing(opener(path)) as raster:
        yield raster
