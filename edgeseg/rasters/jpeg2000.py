"""Read JPEG 2000, in which satellites and scanners deliver, where GDAL was built with a decoder of it."""

from __future__ import annotations

from pathlib import Path

from edgeseg.errors import InputError
from edgeseg.rasters.geotiff import GeoTiff


class Jpeg2000(GeoTiff):
    """A JP2 file or a bare codestream, with its place on Earth where it has one; see ``GeoTiff``."""

    driver = "JP2OpenJPEG"
    kind = "JPEG 2000"

    def _require_driver(self) -> None:
        with self._rasterio.Env() as environment:
            if self.driver not in environment.drivers():
                raise InputError(
                    f"'{self.name}' is JPEG 2000, which the GDAL of this rasterio does not read; make a GeoTIFF of it "
                    "where one does, with gdal_translate -of COG."
                )

    def _pages(self, path: Path) -> list[str]:
        return [str(path.absolute())]
