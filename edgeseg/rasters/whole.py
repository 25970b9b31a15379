"""Read rasters as a whole: the images of ``edgeseg predict`` that have bands, and a place on Earth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.images import max_image_pixels
from edgeseg._internal.limits.tiff import is_image
from edgeseg.errors import InputError
from edgeseg.imaging import read_image
from edgeseg.polygons.georeference import Georeference
from edgeseg.rasters.bands import BandReader, Bands
from edgeseg.rasters.opening import open_raster
from edgeseg.sources import Frame
from edgeseg.spec import ModelSpec

#: Suffixes of images that may be rasters too: they are read as a whole or by windows.
WHOLE_SUFFIXES = frozenset({".tif", ".tiff", ".jp2"})


class RasterImages:
    """Reads image files, rasters by their bands; ``edgeseg.sources.frames`` takes it as ``read``.

    Where neither the caller nor the ModelSpec says which bands, one that is gray or RGB is read as any other image.

    Example:
        >>> read = RasterImages(Bands((4, 3, 2), (0, 3000)), segmenter.spec)
        >>> for frame in frames(["s2.tif", "street.jpg"], read=read):
        ...     print(frame.name, frame.image_rgb.shape)
    """

    def __init__(self, bands: Bands, spec: ModelSpec, *, placed: bool = False) -> None:
        """Choose the bands.

        Args:
            bands: see ``Bands``.
            spec: of the model.
            placed: whether frames say where on Earth they are.
        """
        self._bands, self._spec, self._placed = bands, spec, placed
        self._chosen = bool(bands.bands or bands.band_range or spec.rasters)

    def __call__(self, path: Path) -> Frame:
        """Read an image.

        Raises:
            InputError: it does not decode, has too many pixels, or its bands do not fit.
            BackendUnavailable: it is a raster, and rasterio is not installed.
        """
        place = None
        if path.suffix.lower() not in WHOLE_SUFFIXES:
            image = read_image(path)
        elif self._chosen or not is_image(path):
            image, place = self._raster(path)
        else:
            image = read_image(path)
            place = georeference_of(path) if self._placed else None
        return Frame(name=path.stem, image_rgb=image, path=path, georeference=place if self._placed else None)

    def _raster(self, path: Path) -> tuple[NDArray[np.uint8], Georeference | None]:
        with open_raster(path) as raster:
            height, width = raster.size_hw
            if height * width > max_image_pixels():
                raise InputError(
                    f"'{path}' has {width} x {height} pixels, more than {max_image_pixels()}; by windows it has no "
                    "limit: give `tiles=True` and `save='NAME.tif'`."
                )
            image = BandReader(raster, self._bands, self._spec).read(0, 0, height, width)
            if image is None:
                raise InputError(f"'{path}' has no pixel with a value.")
            return image, raster.georeference


def georeference_of(path: Path) -> Georeference | None:
    """Return where on Earth a raster is; ``None`` where it does not say it.

    Raises:
        InputError: it does not open.
        BackendUnavailable: rasterio is not installed.
    """
    with open_raster(path) as raster:
        return raster.georeference
