"""Read GeoTIFFs through rasterio, and write class maps as Cloud Optimized GeoTIFFs."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path
from edgeseg.errors import InputError, missing_extra
from edgeseg.rasters.base import Georeference, require_bounds
from edgeseg.spec import ModelSpec

#: Bytes of blocks that GDAL keeps decoded, for windows that overlap.
_CACHE_BYTES = 1 << 27
#: Side of the tiles of a class map; what GDAL's COG driver takes by default.
_TILE = 512


class GeoTiff:
    """A TIFF that GDAL's own driver reads, tiled or in strips, with its place on Earth where it has one.

    See ``base.Raster`` for the attributes.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: it is no TIFF, is damaged, or see ``base.require_bounds``.
            BackendUnavailable: rasterio is not installed.
        """
        self._kept = contextlib.ExitStack()
        self._rasterio = _rasterio()
        self.name = str(path)
        with contextlib.ExitStack() as refused:
            refused.callback(self._kept.close)
            self._kept.enter_context(_environment(self._rasterio))
            with self._refusing():
                # GDAL's other drivers read what names further files and addresses.
                self._file = self._kept.enter_context(self._rasterio.open(path.absolute(), driver="GTiff"))
            self.size_hw = (self._file.height, self._file.width)
            kinds = set(self._file.dtypes)
            self.dtype = str(self._file.dtypes[0])
            if len(kinds) > 1:
                raise InputError(f"'{path}' has bands of {' and '.join(sorted(kinds))}; accepted: all of one kind.")
            alpha = self._rasterio.enums.ColorInterp.alpha
            self.num_bands = sum(1 for each in self._file.colorinterp if each != alpha)
            if not self.num_bands:
                raise InputError(f"'{path}' has no band but an alpha channel.")
            together = self._file.count if self._file.interleaving == self._rasterio.enums.Interleaving.pixel else 1
            block = max(height * width for height, width in self._file.block_shapes)
            require_bounds(self.name, self.size_hw, self.dtype, block * together * np.dtype(self.dtype).itemsize)
            self.has_gaps = self.dtype.startswith("float") or any(
                self._rasterio.enums.MaskFlags.all_valid not in flags for flags in self._file.mask_flag_enums
            )
            transform = self._file.transform
            placed = self._file.crs is not None or not transform.is_identity
            self.georeference = Georeference(self._file.crs, transform) if placed else None
            refused.pop_all()

    def read(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Return a part of some bands; see ``base.Raster.read``."""
        with self._refusing():
            parts = self._file.read(self._places(bands), window=self._window(top, left, height, width))
        return np.moveaxis(parts, 0, -1)

    def valid(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
        """Return where a band has a value; see ``base.Raster.valid``."""
        window, places = self._window(top, left, height, width), self._places(sorted(set(bands)))
        with self._refusing():
            there = self._file.read_masks(places, window=window).astype(bool)
            if self.dtype.startswith("float"):
                there &= np.isfinite(self._file.read(places, window=window))
        return np.asarray(there.any(axis=0))

    def close(self) -> None:
        """Close the file."""
        self._kept.close()

    def _places(self, bands: Sequence[int]) -> list[int]:
        """Return the numbers in the file of bands that are counted without alpha channels."""
        alpha = self._rasterio.enums.ColorInterp.alpha
        colors = [
            index for index, each in zip(self._file.indexes, self._file.colorinterp, strict=True) if each != alpha
        ]
        return [colors[band - 1] for band in bands]

    def _window(self, top: int, left: int, height: int, width: int) -> Any:
        return self._rasterio.windows.Window(left, top, width, height)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn what rasterio raises about a file into ``InputError``."""
        try:
            yield
        except self._rasterio.errors.RasterioError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:300].rstrip(".")
            raise InputError(f"'{self.name}' cannot be read as a GeoTIFF: {reason}.") from error


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
    rasterio = _rasterio()
    place = {} if georeference is None else {"crs": georeference.crs, "transform": georeference.transform}
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


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.enums
        import rasterio.errors
        import rasterio.shutil
        import rasterio.windows
    except ModuleNotFoundError as error:
        raise missing_extra("a GeoTIFF that is read by windows", "geo") from error
    return rasterio
