"""Write the areas of segmented images as polygon files, in the format that is asked for."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg.polygons import coco
from edgeseg.polygons.areas import TracedImage, areas_of
from edgeseg.polygons.geojson import GeoJsonFiles
from edgeseg.polygons.georeference import Georeference
from edgeseg.polygons.labelme import LabelmeFiles
from edgeseg.polygons.options import PolygonOptions
from edgeseg.spec import ModelSpec


class _Files(Protocol):
    num_areas: int

    def write(self, image: TracedImage) -> list[Path]: ...

    def close(self, error: BaseException | None = None) -> None: ...


class PolygonFiles:
    """Writes the areas of images, one image after the other; none is kept in memory.

    Examples:
        >>> with PolygonFiles(Path("out"), spec, PolygonOptions("coco")) as files:
        ...     for name, class_map in class_maps:
        ...         files.write(name, class_map)

    Attributes:
        folder: where the files go.
    """

    def __init__(
        self,
        folder: Path,
        spec: ModelSpec,
        options: PolygonOptions | None = None,
        *,
        shown: NDArray[np.bool_] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Prepare; nothing is created before the first image.

        Args:
            folder: created where it is missing.
            spec: names of the classes.
            options: format, tolerance, smallest area.
            shown: ``(256,)`` bool: which ids are traced; all when omitted.
            overwrite: whether files that exist may be replaced.

        Raises:
            InputError: an option is out of range, or the file of all images exists.
        """
        options = options or PolygonOptions()
        options.check()
        self.folder = folder
        self._options, self._spec = options, spec
        self._shown = np.ones(256, bool) if shown is None else shown
        self._files: _Files
        if options.format == "coco":
            self._files = coco.CocoFile(folder, spec, overwrite=overwrite)
        else:
            each = GeoJsonFiles if options.format == "geojson" else LabelmeFiles
            self._files = each(folder, overwrite=overwrite)

    @property
    def num_areas(self) -> int:
        """How many areas were written so far."""
        return self._files.num_areas

    @property
    def path(self) -> Path:
        """The file of all images, or the folder of those of each image."""
        return self.folder / coco.NAME if self._options.format == "coco" else self.folder

    def write(
        self,
        name: str,
        class_map: NDArray[np.uint8],
        *,
        path: Path | None = None,
        spacing_mm: tuple[float, float] | None = None,
        georeference: Georeference | None = None,
    ) -> list[Path]:
        """Trace an image and write its areas.

        Args:
            name: of the image, without suffix.
            class_map: ``(h, w)`` uint8 class ids.
            path: the image's file, where there is one.
            spacing_mm: millimeters from a pixel to the next one below and at the right.
            georeference: where the image lies on a map; GeoJSON then has the map's coordinates, and a tolerance may be
                in its units.

        Returns:
            The image's own files.

        Raises:
            InputError: a file exists and must not be replaced, or cannot be written; or the tolerance is no length in
                this image, see ``PolygonOptions.in_pixels``.
        """
        height, width = class_map.shape
        tolerance = self._options.in_pixels(name, georeference)
        # Up to 0.5 nothing may be lost, in the eyes of those who read this format either.
        if self._options.format == "coco" and tolerance <= 0.5:
            tolerance = min(tolerance, coco.LOSSLESS)
        areas = areas_of(class_map, self._spec, self._shown, tolerance=tolerance, min_area=self._options.min_area)
        image = TracedImage(
            name=name,
            areas=areas,
            size_hw=(height, width),
            path=path,
            spacing_mm=spacing_mm,
            georeference=georeference,
        )
        return self._files.write(image)

    def __enter__(self) -> PolygonFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._files.close(error)
