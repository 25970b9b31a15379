"""Write the areas of each image as GeoJSON (RFC 7946), a file an image, with holes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import write_text
from edgeseg.polygons.areas import Area, TracedImage
from edgeseg.polygons.image_files import ImageFiles
from edgeseg.polygons.raster import ring_area


class GeoJsonFiles(ImageFiles):
    """Writes ``NAME.geojson``: a feature collection with a feature an area.

    Coordinates are those of the map where the image has a georeference, else pixels ``(x, y)`` from the top left
    corner, which RFC 7946 does not know: it has degrees alone. A system is named as GDAL reads it, in ``crs``, which
    RFC 7946 dropped from GeoJSON 2008.
    """

    def write(self, image: TracedImage) -> list[Path]:
        """See ``ImageFiles``."""
        path = self.folder / f"{image.name}.geojson"
        height, width = image.size_hw
        lines = [json.dumps(_feature(image, area), allow_nan=False) for area in image.areas]
        crs = image.georeference.crs if image.georeference is not None else None
        named = {"crs": {"type": "name", "properties": {"name": _urn(crs)}}} if crs else {}
        head = {
            "type": "FeatureCollection",
            **named,
            "image": {"file_name": image.file_name, "width": width, "height": height},
            "coordinates": "pixel edges" if image.georeference is None else "map",
        }
        # A feature a line, so that a difference of two files can be read.
        text = json.dumps(head)[:-1] + ', "features": [\n' + ",\n".join(lines) + "\n]}\n"
        write_text(path, text, overwrite=self._overwrite)
        self.num_areas += len(lines)
        return [path]


def _feature(image: TracedImage, area: Area) -> dict[str, Any]:
    coordinates = [_ring(ring, image, hole=number > 0) for number, ring in enumerate(area.polygon.rings)]
    return {
        "type": "Feature",
        "properties": {"class": area.label, "class_id": area.class_id, **image.measures(area)},
        "geometry": {"type": "Polygon", "coordinates": coordinates},
    }


def _ring(ring: NDArray[np.float64], image: TracedImage, *, hole: bool) -> list[list[float]]:
    """Return the positions of a ring, the first again at the end; an exterior goes counterclockwise, a hole not."""
    decimals = 2
    if image.georeference is not None:
        ring, decimals = image.georeference.points(ring), image.georeference.decimals
    if (ring_area(ring) > 0) == hole:
        ring = ring[::-1]
    positions: list[list[float]] = np.round(ring, decimals).tolist()
    return [*positions, positions[0]]


def _urn(crs: str) -> str:
    authority, colon, code = crs.partition(":")
    return f"urn:ogc:def:crs:{authority}::{code}" if colon and code.isdigit() else crs
