"""Write the areas of each image as labelme's JSON, and define what such a file has, for those that read it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from edgeseg._internal.files import write_text
from edgeseg._internal.json import AnyText, Meta
from edgeseg.polygons.areas import Area, TracedImage
from edgeseg.polygons.image_files import ImageFiles
from edgeseg.polygons.keyhole import without_holes

#: Points of a document that is read: with more of them, to draw it takes long.
MOST_POINTS = 200_000

#: A coordinate that is read: beyond the sides of any image; Pillow takes minutes for a circle of a million pixels.
Coordinate = Annotated[float, Meta(ge=-(2**17), le=2**17)]

# The version of labelme whose fields these are; later ones read them.
_VERSION = "5.5.0"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A shape as labelme writes it; the type of old files is missing, and means a polygon."""

    label: AnyText
    points: Annotated[tuple[tuple[Coordinate, Coordinate], ...], Meta(max_length=MOST_POINTS)]
    shape_type: AnyText | None = None

    @property
    def kind(self) -> str:
        """The type."""
        return self.shape_type or "polygon"


class LabelmeFiles(ImageFiles):
    """Writes ``NAME.json``: a polygon an area, with the path of the image and not the image itself.

    labelme has no holes: each is joined to the exterior by a cut without width.
    """

    def write(self, image: TracedImage) -> list[Path]:
        """See ``ImageFiles``."""
        path = self.folder / f"{image.name}.json"
        height, width = image.size_hw
        document: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": [_shape(area) for area in image.areas],
            "imagePath": image.file_name if image.path is None else _relative(image.path, self.folder),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n", overwrite=self._overwrite)
        self.num_areas += len(image.areas)
        return [path]


def _shape(area: Area) -> dict[str, Any]:
    return {
        "label": area.label,
        "points": np.round(without_holes(area.polygon), 2).tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
    }


def _relative(path: Path, folder: Path) -> str:
    """Return the path of an image as labelme looks for it, from the JSON file."""
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # another drive of Windows
        return str(path.absolute())
