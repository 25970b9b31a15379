"""Read regions of interest: polygons with names, as labelme or GeoJSON has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import AnyText, Meta, WrongValue, decode
from edgeseg._internal.limits.text import read_text
from edgeseg._internal.text import counted, unprintable
from edgeseg.errors import InputError
from edgeseg.polygons.labelme import Coordinate, Shape
from edgeseg.polygons.raster import drawn

# Bytes of a file, regions in it, and points in all: as many are drawn in a moment on an image of any size.
_MOST_BYTES, _MOST_REGIONS, _MOST_POINTS = 1 << 22, 256, 20_000

_Side = Annotated[int, Meta(ge=1, le=2**17)]
_Position = Annotated[tuple[Coordinate, ...], Meta(min_length=2, max_length=4)]
_Ring = Annotated[tuple[_Position, ...], Meta(min_length=3, max_length=_MOST_POINTS)]
_Polygon = Annotated[tuple[_Ring, ...], Meta(min_length=1, max_length=_MOST_REGIONS)]


@dataclass(frozen=True)
class _Geometry:
    type: Literal["Polygon"]
    coordinates: _Polygon


@dataclass(frozen=True)
class _Properties:
    name: AnyText | None = None
    label: AnyText | None = None


@dataclass(frozen=True)
class _Feature:
    geometry: _Geometry
    properties: _Properties | None = None


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A file of labelme (``shapes``) or of GeoJSON (``features``)."""

    shapes: Annotated[tuple[Shape, ...], Meta(max_length=_MOST_REGIONS)] | None = None
    imageHeight: _Side | None = None  # noqa: N815 - labelme's name
    imageWidth: _Side | None = None  # noqa: N815
    features: Annotated[tuple[_Feature, ...], Meta(max_length=_MOST_REGIONS)] | None = None


@dataclass(frozen=True)
class Region:
    """A region of interest.

    Attributes:
        name: unique in its file.
        rings: each ``(N, 2)`` float64 ``(x, y)``; what an even number of them contains is outside.
        relative: the coordinates are shares of the image's width and height, from 0 to 1; else they are pixels, where
            pixel (0, 0) covers [0, 1] x [0, 1].
    """

    __repr__ = short_repr

    name: str
    rings: tuple[NDArray[np.float64], ...]
    relative: bool


class Regions:
    """Regions of interest, and which pixels of an image are in each.

    Attributes:
        regions: in the order of the file.
        drawn_on_hw: ``(h, w)`` of the image that they were drawn on; ``None`` where the file does not say it.
    """

    def __init__(self, regions: Sequence[Region], *, drawn_on_hw: tuple[int, int] | None = None) -> None:
        """Keep the regions.

        Args:
            regions: with different names.
            drawn_on_hw: an image of another size is refused, unless the regions are relative.
        """
        self.regions = tuple(regions)
        self.drawn_on_hw = drawn_on_hw
        self._sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._masks: tuple[NDArray[np.bool_], ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Regions:
        """Read a file; coordinates that all lie from 0 to 1 are relative.

        Raises:
            InputError: it cannot be read, is no such file, or has no region, too many, or two of one name.
        """
        try:
            document = decode(read_text(path, _MOST_BYTES), _Document)
            regions = list(_regions(document))
        except OSError as error:
            raise InputError(f"the regions '{path}' cannot be read: {error.strerror}.") from error
        except (WrongValue, UnicodeDecodeError) as error:
            raise InputError(f"'{path}' is no file of regions, as labelme or GeoJSON has them: {error}.") from error
        if not regions:
            raise InputError(f"'{path}' has no region; accepted: labelme's shapes, or GeoJSON's features.")
        names = [region.name for region in regions]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"'{path}' has two regions '{twice}'; give each a name of its own.")
        if wrong := next((name for name in names if unprintable(name)), None):
            raise InputError(f"'{path}' has the name of a region with {unprintable(wrong)}.")
        points = sum(len(ring) for region in regions for ring in region.rings)
        if points > _MOST_POINTS:
            raise InputError(f"'{path}' has {counted(points, 'point')}; at most {_MOST_POINTS} are drawn.")
        sides = document.imageHeight, document.imageWidth
        return cls(regions, drawn_on_hw=None if sides[0] is None or sides[1] is None else (sides[0], sides[1]))

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the file."""
        return tuple(region.name for region in self.regions)

    def masks(self, map_hw: tuple[int, int], image_hw: tuple[int, int]) -> tuple[NDArray[np.bool_], ...]:
        """Return where the regions are in a class map; those of the last sizes are kept.

        Args:
            map_hw: ``(h, w)`` of the class map, which may be smaller than its image.
            image_hw: ``(h, w)`` of the image.

        Returns:
            ``(h, w)`` bool for each region: the pixels whose centers are in it.

        Raises:
            InputError: the regions are in pixels and were drawn on an image of another size.
        """
        if self._sizes != (map_hw, image_hw):
            self._masks = tuple(self._mask(region, map_hw, image_hw) for region in self.regions)
            self._sizes = map_hw, image_hw
        return self._masks

    def _mask(self, region: Region, map_hw: tuple[int, int], image_hw: tuple[int, int]) -> NDArray[np.bool_]:
        if not region.relative and self.drawn_on_hw not in (None, image_hw):
            raise InputError(
                f"the region '{region.name}' was drawn on an image of {self.drawn_on_hw} (H,W), and this one is "
                f"{image_hw}; coordinates from 0 to 1 fit every size."
            )
        size_hw = (1, 1) if region.relative else image_hw
        scale_xy = (map_hw[1] / size_hw[1], map_hw[0] / size_hw[0])
        return drawn([ring * scale_xy for ring in region.rings], map_hw)


def _regions(document: _Document) -> Iterator[Region]:
    named: list[tuple[str, list[Any]]] = []
    for shape in document.shapes or ():
        named.append((shape.label, [_corners(shape)]))
    for number, feature in enumerate(document.features or (), 1):
        properties = feature.properties or _Properties()
        rings = [[position[:2] for position in ring] for ring in feature.geometry.coordinates]
        named.append((properties.name or properties.label or f"region_{number}", rings))
    arrays = [(name, tuple(np.array(ring, np.float64) for ring in rings)) for name, rings in named]
    relative = all(((ring >= 0) & (ring <= 1)).all() for _, rings in arrays for ring in rings)
    return (Region(name, rings, relative) for name, rings in arrays)


def _corners(shape: Shape) -> list[tuple[float, float]]:
    """Return the corners of labelme's polygon or rectangle."""
    points = list(shape.points)
    if shape.kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    if shape.kind != "polygon" or len(points) < 3:
        raise WrongValue(
            f"'{shape.label}' is a {shape.kind} of {counted(len(points), 'point')}; accepted: a polygon of three or "
            "more, a rectangle of two"
        )
    return points
