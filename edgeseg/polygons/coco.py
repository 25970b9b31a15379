"""Write the areas of all images of a run as one COCO file of instances."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path, refuse_existing
from edgeseg.polygons.areas import Area, TracedImage
from edgeseg.polygons.raster import drawn
from edgeseg.spec import ModelSpec

#: The name of the file.
NAME = "annotations.json"

#: The largest tolerance that loses nothing in pycocotools, which rounds corners to fifths of a pixel and then cuts:
#: measured, 0.35 gives every mask again, 0.38 not.
LOSSLESS = 0.35

# Entries of images that are in memory; what comes after them is in a temporary file.
_IN_MEMORY = 1 << 20


class CocoFile:
    """Writes ``annotations.json``: an annotation an area, a category a class, whose id is the class's plus one.

    An area is a polygon in continuous coordinates; with holes it is a run-length encoded mask, as COCO's polygons have
    none. Annotations are written as they come, so that memory does not grow with the number of images.

    Attributes:
        folder: where the file goes.
        path: the file; it is there after ``close``.
        num_areas: written so far.
    """

    def __init__(self, folder: Path, spec: ModelSpec, *, overwrite: bool = False) -> None:
        """Prepare; nothing is created before the first image.

        Args:
            folder: created where it is missing.
            spec: names of the classes.
            overwrite: whether an existing file may be replaced.

        Raises:
            InputError: it exists and must not be replaced.
        """
        self.folder, self.path = folder, folder / NAME
        self.num_areas = 0
        self._num_images = 0
        self._spec, self._overwrite = spec, overwrite
        self._stack = ExitStack()
        self._annotations: TextIO | None = None
        self._images: Any = None
        refuse_existing(self.path, overwrite=overwrite)

    def write(self, image: TracedImage) -> list[Path]:
        """Add an image and its areas; return no path, as the file is not there yet."""
        if self._annotations is None:
            self._begin()
        assert self._annotations is not None
        self._num_images += 1
        height, width = image.size_hw
        entry = {"id": self._num_images, "file_name": image.file_name, "width": width, "height": height}
        self._images.write(("" if self._num_images == 1 else ",\n") + json.dumps(entry))
        for area in image.areas:
            self.num_areas += 1
            annotation = {"id": self.num_areas, "image_id": self._num_images, **_annotation(image, area)}
            text = json.dumps(annotation, allow_nan=False)
            self._annotations.write(("" if self.num_areas == 1 else ",\n") + text)
        return []

    def close(self, error: BaseException | None = None) -> None:
        """Finish the file; without an image there is none, and after an error what was written is removed."""
        if self._annotations is None:
            return
        if error is not None:
            self._stack.__exit__(type(error), error, error.__traceback__)
            return
        with self._stack:
            self._annotations.write('\n],\n"images": [\n')
            self._images.seek(0)
            shutil.copyfileobj(self._images, self._annotations)
            self._annotations.write("\n]}\n")
            self._annotations.flush()

    def _begin(self) -> None:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path, overwrite=self._overwrite))
            self._annotations = stack.enter_context(open(temporary, "w", encoding="utf-8"))
            self._images = stack.enter_context(
                tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", dir=str(self.folder))
            )
            self._stack = stack.pop_all()
        categories = [
            {"id": class_id + 1, "name": name, "supercategory": ""}
            for class_id, name in enumerate(self._spec.class_names)
        ]
        head = {"info": {"description": "edgeseg predict", "version": "1.0"}, "licenses": [], "categories": categories}
        self._annotations.write(json.dumps(head)[:-1] + ',\n"annotations": [\n')


def _annotation(image: TracedImage, area: Area) -> dict[str, Any]:
    polygon = area.polygon
    (left, top), (right, bottom) = polygon.exterior.min(axis=0), polygon.exterior.max(axis=0)
    outline = [np.round(polygon.exterior, 2).ravel().tolist()]
    sizes = image.measures(area)
    return {
        "category_id": area.class_id + 1,
        "segmentation": run_lengths(polygon.rings, image.size_hw) if polygon.holes else outline,
        "area": sizes.pop("area_px"),
        "bbox": [float(value) for value in np.round((left, top, right - left, bottom - top), 2)],
        "iscrowd": 0,
        **sizes,
    }


def run_lengths(rings: tuple[NDArray[np.float64], ...], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Encode the mask of a polygon as COCO does: lengths of runs down the columns, the first one outside.

    Args:
        rings: the exterior and holes, as ``drawn`` takes them.
        size_hw: ``(h, w)`` of the image.

    Returns:
        COCO's uncompressed form: ``size`` as ``[h, w]``, ``counts``.
    """
    height, width = size_hw
    # Only the columns of the area are drawn.
    left = int(np.clip(np.floor(rings[0][:, 0].min()), 0, width))
    right = int(np.clip(np.ceil(rings[0][:, 0].max()), left, width))
    mask = drawn([ring - (left, 0) for ring in rings], (height, right - left))
    column_major = np.concatenate([[False], mask.T.ravel(), [False]])
    changes = np.flatnonzero(column_major[1:] != column_major[:-1]) + left * height
    return {"size": [height, width], "counts": np.diff(changes, prepend=0, append=height * width).tolist()}
