"""Open a raster by the suffix of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from edgeseg.errors import InputError
from edgeseg.rasters.base import Raster
from edgeseg.rasters.geotiff import GeoTiff
from edgeseg.rasters.slides import OpenSlideRaster, SlideTiff

#: What opens files of each suffix.
_OPENERS: Mapping[str, Callable[[Path], Raster]] = {
    **dict.fromkeys((".tif", ".tiff", ".gtiff"), GeoTiff),
    **dict.fromkeys((".svs", ".ndpi", ".scn", ".qptiff", ".btf"), SlideTiff),
    **dict.fromkeys((".mrxs", ".vms", ".vmu", ".bif", ".svslide"), OpenSlideRaster),
}
#: Suffixes of files that are read by windows.
RASTER_SUFFIXES = frozenset(_OPENERS)


@contextmanager
def open_raster(path: str | Path) -> Iterator[Raster]:
    """Open a GeoTIFF through rasterio, or a slide through tifffile or OpenSlide, while the block runs.

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
