"""Say how areas become polygons; the command line reads it, so that nothing heavy is imported here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.choices import LengthUnit, PolygonFormat
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.polygons.georeference import Georeference

#: Pixels of the largest tolerance.
_MOST_PIXELS = 25


@dataclass(frozen=True)
class PolygonOptions:
    """How areas become polygons, and in which files.

    Attributes:
        format: ``geojson`` and ``labelme`` write a file an image, ``coco`` one of all images.
        tolerance: how far a side may pass from the sides of pixels that it replaces, in pixels; 0 keeps every corner of
            the stairs. Up to 0.5 a polygon drawn again is its area; above, see ``edgeseg.polygons.trace.polygons_of``.
        min_area: smaller areas are omitted, in pixels.
        tolerance_unit: ``px`` for a tolerance in pixels, ``crs`` for one in units of the coordinate reference system
            that an image has, such as meters.
    """

    format: PolygonFormat = "geojson"
    tolerance: float = 0.5
    min_area: int = 1
    tolerance_unit: LengthUnit = "px"

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            InputError: a number is out of range.
        """
        if self.tolerance_unit == "px" and not 0 <= self.tolerance <= _MOST_PIXELS:
            raise InputError(f"`tolerance` must be from 0 to {_MOST_PIXELS} pixels, got {self.tolerance:g}.")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise InputError(f"`tolerance` must be 0 or more, got {self.tolerance:g}.")
        if self.min_area < 1:
            raise InputError(f"`min_area` must be 1 pixel or more, got {self.min_area}.")

    def in_pixels(self, name: str, georeference: Georeference | None) -> float:
        """Return the tolerance in pixels of an image.

        Args:
            name: of the image, for the error text.
            georeference: where the image lies; ``None`` where nothing says it.

        Raises:
            InputError: it is in units of a coordinate reference system, and the image has none, or is so coarse that it
                is more than 25 pixels.
        """
        if self.tolerance_unit == "px":
            return self.tolerance
        if georeference is None or not georeference.longest_pixel > 0:
            raise InputError(
                f"'{name}' has no place on a map, in whose units the tolerance is: give pixels, as `tolerance=0.5`."
            )
        pixels = self.tolerance / georeference.longest_pixel
        if pixels > _MOST_PIXELS:
            most = _MOST_PIXELS * georeference.longest_pixel
            raise InputError(
                f"the tolerance is {pixels:.4g} pixels of '{name}'; accepted: up to {_MOST_PIXELS}, which are {most:g} "
                "units of its coordinate reference system."
            )
        return pixels
