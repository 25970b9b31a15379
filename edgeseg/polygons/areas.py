"""Define what a polygon file has of an image: its areas, each with its class, its size and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.polygons.georeference import Georeference
from edgeseg.polygons.trace import Polygon, polygons_of
from edgeseg.spec import ModelSpec


@dataclass(frozen=True)
class Area:
    """A connected area of one class.

    Attributes:
        class_id: of the class, in the class map.
        label: name of the class.
        polygon: its border, in pixels.
    """

    class_id: int
    label: str
    polygon: Polygon


@dataclass(frozen=True, kw_only=True)
class TracedImage:
    """An image and its areas.

    Attributes:
        name: for files that are written: ``street`` for an image, ``street_000012`` for a frame of a video.
        areas: by class, the largest of each first.
        size_hw: ``(h, w)`` of the image, in pixels.
        path: the image's file; ``None`` for a frame of a video.
        spacing_mm: millimeters from a pixel to the next one below and at the right; ``None`` where nothing says it.
        georeference: where the image lies on a map; ``None`` where nothing says it.
    """

    __repr__ = short_repr

    name: str
    areas: tuple[Area, ...]
    size_hw: tuple[int, int]
    path: Path | None = None
    spacing_mm: tuple[float, float] | None = None
    georeference: Georeference | None = None

    @property
    def file_name(self) -> str:
        """The name of the image's file; of a frame the one that the image of it would have."""
        return f"{self.name}.png" if self.path is None else self.path.name

    def measures(self, area: Area) -> dict[str, float]:
        """Return the size of an area: pixels, square millimeters and square units of the map where they are known."""
        sizes: dict[str, float] = {"area_px": area.polygon.area}
        if self.spacing_mm is not None:
            sizes["area_mm2"] = round(area.polygon.area * self.spacing_mm[0] * self.spacing_mm[1], 4)
        if self.georeference is not None:
            sizes["area_crs"] = area.polygon.area * self.georeference.pixel_area
        return sizes


def areas_of(
    class_map: NDArray[np.uint8],
    spec: ModelSpec,
    shown: NDArray[np.bool_],
    *,
    tolerance: float = 0.5,
    min_area: int = 1,
) -> tuple[Area, ...]:
    """Trace the areas of every class that occurs.

    Args:
        class_map: ``(h, w)`` uint8 class ids; an id that is no class is not traced.
        spec: names of the classes.
        shown: ``(256,)`` bool: which ids are traced.
        tolerance: see ``polygons_of``.
        min_area: smaller areas are omitted, in pixels.
    """
    pixels = np.bincount(class_map.ravel(), minlength=256)[: spec.num_classes]
    return tuple(
        Area(class_id, spec.class_names[class_id], polygon)
        for class_id in np.flatnonzero((pixels > 0) & shown[: spec.num_classes]).tolist()
        for polygon in polygons_of(class_map == class_id, min_area=min_area, tolerance=tolerance)
    )
