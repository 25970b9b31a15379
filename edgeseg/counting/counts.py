"""Count the pixels of each class in a class map and in regions of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.counting.regions import Regions
from edgeseg.spec import ModelSpec

#: The name of the whole image among its regions.
WHOLE = ""


@dataclass(frozen=True)
class RegionCounts:
    """The pixels of each class in an image or a region of it.

    Attributes:
        region: its name; empty for the whole image.
        size: number of pixels of the region, in the class map.
        pixels: of each class, by name.
        mm2_per_pixel: square millimeters of a pixel; ``None`` where nothing says it.
    """

    __repr__ = short_repr

    region: str
    size: int
    pixels: Mapping[str, int]
    mm2_per_pixel: float | None = None

    @property
    def shares(self) -> dict[str, float | None]:
        """The share of the region that each class has, in [0, 1]; ``None`` in a region without a pixel."""
        return {name: count / self.size if self.size else None for name, count in self.pixels.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON has of it."""
        entry: dict[str, Any] = {"size": self.size, "counts": dict(self.pixels), "shares": self.shares}
        if self.mm2_per_pixel is not None:
            entry["areas_mm2"] = {name: round(n * self.mm2_per_pixel, 4) for name, n in self.pixels.items()}
        return entry


def count(
    class_map: NDArray[np.uint8],
    spec: ModelSpec,
    regions: Regions | None = None,
    *,
    image_hw: tuple[int, int] | None = None,
    spacing_mm: tuple[float, float] | None = None,
) -> list[RegionCounts]:
    """Count the pixels of each class.

    Args:
        class_map: ``(h, w)`` uint8 class ids.
        spec: names of the classes.
        regions: where to count besides the whole image.
        image_hw: ``(h, w)`` of the image where the map is smaller; regions in pixels are those of the image.
        spacing_mm: millimeters from a pixel to the next one below and at the right.

    Returns:
        The whole image, and after it each region.

    Raises:
        InputError: a region was drawn on an image of another size.
    """
    map_hw = (class_map.shape[0], class_map.shape[1])
    masks = regions.masks(map_hw, image_hw or map_hw) if regions is not None else ()
    names = (WHOLE, *(regions.names if regions is not None else ()))
    area = None if spacing_mm is None else spacing_mm[0] * spacing_mm[1]
    found = []
    for name, ids in zip(names, (class_map.ravel(), *(class_map[mask] for mask in masks)), strict=True):
        pixels = np.bincount(ids, minlength=spec.num_classes)[: spec.num_classes].tolist()
        found.append(RegionCounts(name, len(ids), dict(zip(spec.class_names, pixels, strict=True)), area))
    return found
