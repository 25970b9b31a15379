"""Say how areas become polygons; the command line reads it, so that nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.choices import PolygonFormat
from edgeseg.errors import InputError


@dataclass(frozen=True)
class PolygonOptions:
    """How areas become polygons, and in which files.

    Attributes:
        format: ``geojson`` and ``labelme`` write a file an image, ``coco`` one of all images.
        tolerance: how far a side may pass from the sides of pixels that it replaces, in pixels; 0 keeps every corner of
            the stairs. Up to 0.5 a polygon drawn again is its area; above, see ``edgeseg.polygons.trace.polygons_of``.
        min_area: smaller areas are omitted, in pixels.
    """

    format: PolygonFormat = "geojson"
    tolerance: float = 0.5
    min_area: int = 1

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            InputError: a number is out of range.
        """
        if not 0 <= self.tolerance <= 25:
            raise InputError(f"`tolerance` must be from 0 to 25 pixels, got {self.tolerance:g}.")
        if self.min_area < 1:
            raise InputError(f"`min_area` must be 1 pixel or more, got {self.min_area}.")
