"""Read GeoTIFFs and JPEG 2000 through rasterio, and write class maps as Cloud Optimized GeoTIFFs."""

from __future__ import annotations

import contextlib
import json
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path
from edgeseg._internal.limits.tiff import channels_on_pages, siblings, stacked, tiff_pages
from edgeseg.errors import InputError, missing_extra
from edgeseg.polygons.georeference import Georeference
from edgeseg.rasters.base import require_bounds
from edgeseg.spec import ModelSpec

#: Bytes of blocks that GDAL keeps decoded, for windows that overlap.
_CACHE_BYTES = 1 << 27
#: Side of the tiles of a class map; what GDAL's COG driver takes by default.
_TILE = 512
# Channels of a microscope on pages of their own: each is a file that GDAL keeps open.
_MOST_PAGES = 64


class GeoTiff:
    """A TIFF that GDAL's own driver reads, tiled or in strips, with its place on Earth where it has one.

    The channels of an OME-TIFF or of ImageJ that are on pages of their own are its bands; those of a palette are red,
    green and blue. See ``base.Raster`` for the attributes.
    """

    # GDAL's other drivers read what names further files and addresses.
    driver = "GTiff"
    kind = "a GeoTIFF"

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: it is no TIFF, is damaged, or see ``base.require_bounds``.
            BackendUnavailable: rasterio is not installed.
        """
        self._kept = contextlib.ExitStack()
        self._rasterio = library()
        self.name = str(path)
        with contextlib.ExitStack() as refused:
            refused.callback(self._kept.close)
            self._kept.enter_context(_environment(self._rasterio))
            self._require_driver()
            pages = self._pages(path)
            self._file, *others = (self._opened(page) for page in pages)
            self.size_hw = (self._file.height, self._file.width)
            kinds = {dtype for file in (self._file, *others) for dtype in file.dtypes}
            self.dtype = str(self._file.dtypes[0])
            if len(kinds) > 1:
                raise InputError(f"'{path}' has bands of {' and '.join(sorted(kinds))}; accepted: all of one kind.")
            meanings = self._rasterio.enums.ColorInterp
            self._bands = [
                (file, index)
                for file in (self._file, *others)
                for index, each in zip(file.indexes, file.colorinterp, strict=True)
                if each != meanings.alpha
            ]
            self.num_bands = len(self._bands)
            if not self._bands:
                raise InputError(f"'{path}' has no band but an alpha channel.")
            self._palette: NDArray[np.uint8] | None = None
            if len(self._bands) == 1 and self._file.colorinterp[0] == meanings.palette:
                self._palette = _palette(self._file.colormap(1))
                # Three times the same band, of which each takes another color.
                self._bands, self.num_bands, self.dtype = self._bands * 3, 3, "uint8"
            together = self._file.count if self._file.interleaving == self._rasterio.enums.Interleaving.pixel else 1
            block = max(height * width for height, width in self._file.block_shapes)
            require_bounds(self.name, self.size_hw, self.dtype, block * together * np.dtype(self.dtype).itemsize)
            self.has_gaps = self.dtype.startswith("float") or any(
                self._rasterio.enums.MaskFlags.all_valid not in flags for flags in self._file.mask_flag_enums
            )
            transform, crs = self._file.transform, self._file.crs
            placed = crs is not None or not transform.is_identity
            self.georeference = Georeference(transform[:6], _name_of(crs)) if placed else None
            refused.pop_all()

    def read(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Return a part of some bands; see ``base.Raster.read``."""
        window, places = self._window(top, left, height, width), self._places(bands)
        parts: NDArray[Any]
        with self._refusing():
            if len({id(file) for file, _ in places}) == 1:  # at once: bands of a pixel may be in one block
                parts = np.moveaxis(places[0][0].read([index for _, index in places], window=window), 0, -1)
            else:
                parts = np.stack([file.read(index, window=window) for file, index in places], axis=-1)
        if self._palette is None:
            return parts
        return np.stack([self._palette[parts[..., n], band - 1] for n, band in enumerate(bands)], axis=-1)

    def valid(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
        """Return where a band has a value; see ``base.Raster.valid``."""
        window, there = self._window(top, left, height, width), np.zeros((height, width), np.bool_)
        with self._refusing():
            for file, index in dict.fromkeys(self._places(bands)):
                valid = file.read_masks(index, window=window).astype(bool)
                if self.dtype.startswith("float"):
                    valid &= np.isfinite(file.read(index, window=window))
                there |= valid
        return there

    def close(self) -> None:
        """Close the file."""
        self._kept.close()

    def _places(self, bands: Sequence[int]) -> list[tuple[Any, int]]:
        """Return the file, and the number in it, of bands that are counted without alpha channels."""
        return [self._bands[band - 1] for band in bands]

    def _require_driver(self) -> None:
        """Refuse a kind of file that this GDAL does not read; it reads TIFFs everywhere."""

    def _pages(self, path: Path) -> list[str]:
        """Return what GDAL calls the pages whose bands are those of the image: mostly the file alone.

        Raises:
            InputError: there are pages of one size that are no channels of one image.
        """
        try:
            with path.open("rb") as file:
                pages = siblings(tiff_pages(file))
        except (OSError, struct.error, OverflowError):
            return [str(path.absolute())]  # GDAL says what is wrong with it
        if len(pages) == 1:
            return [str(path.absolute())]
        if not channels_on_pages(pages) or len(pages) > _MOST_PAGES:
            raise stacked(path, pages)
        return [f"GTIFF_DIR:{page.number}:{path.absolute()}" for page in pages]

    def _opened(self, name: str) -> Any:
        with self._refusing():
            return self._kept.enter_context(self._rasterio.open(name, driver=self.driver))

    def _window(self, top: int, left: int, height: int, width: int) -> Any:
        return self._rasterio.windows.Window(left, top, width, height)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn what rasterio raises about a file into ``InputError``."""
        try:
            yield
        except self._rasterio.errors.RasterioError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:300].rstrip(".")
            raise InputError(f"'{self.name}' cannot be read as {self.kind}: {reason}.") from error


def write_class_map(
    path: Path,
    parts: Iterator[NDArray[np.uint8]],
    size_hw: tuple[int, int],
    spec: ModelSpec,
    *,
    georeference: Georeference | None,
    nodata: int | None,
    overwrite: bool = False,
) -> None:
    """Write class ids as a Cloud Optimized GeoTIFF with the classes' colors, and their names in the tag ``classes``.

    Args:
        path: of the file.
        parts: the rows from the top, ``(h, W)`` uint8 each.
        size_hw: ``(H, W)`` of all.
        spec: has names and colors of the classes.
        georeference: of the raster that was segmented.
        nodata: the id of pixels without a class.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: the file exists, or cannot be written.
        BackendUnavailable: rasterio is not installed.
    """
    rasterio = library()
    place = {}
    if georeference is not None:
        place = {"crs": georeference.crs, "transform": rasterio.Affine(*georeference.transform)}
    with atomic_path(path, overwrite=overwrite) as temporary, _environment(rasterio):
        # GDAL makes a COG of a whole file alone. The name begins like that of the temporary file, so that it is
        # removed like it where this process is killed.
        tiled = temporary.with_name(f"{temporary.name}.tiled.tif")
        try:
            with rasterio.open(
                tiled, "w", driver="GTiff", height=size_hw[0], width=size_hw[1], count=1, dtype="uint8",
                nodata=nodata, tiled=True, blockxsize=_TILE, blockysize=_TILE, compress="deflate", zlevel=1,
                bigtiff="if_safer", **place,
            ) as file:  # fmt: skip
                top = 0
                for part in parts:
                    file.write(part, 1, window=rasterio.windows.Window(0, top, size_hw[1], len(part)))
                    top += len(part)
                file.write_colormap(1, dict(enumerate(spec.palette)))
                file.update_tags(model=spec.name, classes=json.dumps(list(spec.class_names)))
            options = {"compress": "deflate", "blocksize": _TILE, "overview_resampling": "nearest"}
            rasterio.shutil.copy(tiled, temporary, driver="COG", bigtiff="if_safer", **options)
        except rasterio.errors.RasterioError as error:
            raise InputError(f"'{path}' cannot be written: {' '.join(str(error).split())[:300]}.") from error
        finally:
            tiled.unlink(missing_ok=True)


@contextlib.contextmanager
def _environment(rasterio: Any) -> Iterator[None]:
    """Bound what GDAL keeps, and silence its warning of a file without a place on Earth."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def _palette(colors: Mapping[int, Sequence[int]]) -> NDArray[np.uint8]:
    """Return ``(65536, 3)`` colors by their numbers, black where there is none."""
    table = np.zeros((1 << 16, 3), np.uint8)
    for number, color in colors.items():
        table[number] = color[:3]
    return table


def _name_of(crs: Any) -> str | None:
    """Return the name of a coordinate reference system where it is one of a list to the last number, else its WKT."""
    if crs is None:
        return None
    authority = crs.to_authority(confidence_threshold=100)
    return ":".join(authority) if authority else str(crs.to_wkt())


def library() -> Any:
    """Return rasterio.

    Raises:
        BackendUnavailable: it is not installed.
    """
    try:
        import rasterio
        import rasterio.enums
        import rasterio.errors
        import rasterio.shutil
        import rasterio.windows
    except ModuleNotFoundError as error:
        raise missing_extra("a GeoTIFF that is read by its bands", "geo") from error
    return rasterio
