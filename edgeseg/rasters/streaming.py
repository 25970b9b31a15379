"""Segment a raster window by window into a Cloud Optimized GeoTIFF, in memory that does not grow with its height."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import refuse_existing, sha256
from edgeseg._internal.progress import Progress
from edgeseg.errors import InputError
from edgeseg.rasters.bands import BandReader, Bands
from edgeseg.rasters.base import Raster
from edgeseg.rasters.geotiff import write_class_map
from edgeseg.rasters.growing import GrowingMap, Journal, growing_map
from edgeseg.segmenter import Segmenter
from edgeseg.spec import MAX_CLASSES, ModelSpec
from edgeseg.tiling.windows import Grid

#: Bytes of scores that are kept between two bands of windows, at most.
_MAX_RING_BYTES = 1 << 31


@dataclass(frozen=True, kw_only=True)
class RasterResult:
    """What was made of a raster.

    Attributes:
        path: the class map.
        size_hw: ``(H, W)`` in pixels.
        counts: pixels of every class, by name.
        num_blank: pixels without a value.
        first_row: where this run began; above 0 where it went on with what was there.
    """

    __repr__ = short_repr

    path: Path
    size_hw: tuple[int, int]
    counts: dict[str, int]
    num_blank: int
    first_row: int


def segment_raster(
    segmenter: Segmenter,
    raster: Raster,
    path: str | Path,
    *,
    bands: Bands | None = None,
    overlap: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RasterResult:
    """Segment a raster and write the class map, with the raster's place on Earth.

    The rows grow in ``PATH.part``, as many bytes as pixels; the same call after a kill goes on there. Pixels without a
    value in the raster have none in the class map.

    Args:
        segmenter: the model.
        raster: see ``open_raster``.
        path: a file that ends in ``.tif``.
        bands: which bands are red, green and blue, and how they are scaled.
        overlap: of windows, in pixels; see ``edgeseg.tiling.windows.overlaps``.
        overwrite: whether an existing file may be replaced.
        progress: called with (rows done, rows in all).

    Raises:
        InputError: the file exists, the raster does not fit the model or is damaged, or the scores between two bands of
            windows exceed 2 GB.
        BackendUnavailable: rasterio is not installed.

    Examples:
        >>> with open_raster("scene.tif") as raster:
        ...     segment_raster(segmenter, raster, "classes.tif", bands=Bands((4, 3, 2), (0, 3000)))
    """
    path, spec = Path(path), segmenter.spec
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"'{path}' must end in .tif: the class map of a raster is a GeoTIFF.")
    refuse_existing(path, overwrite=overwrite)
    reader = BandReader(raster, bands or Bands(), spec)
    nodata = _nodata(spec)
    if nodata is None and raster.has_gaps:
        raise InputError(f"'{raster.name}' has pixels without a value, and {MAX_CLASSES} classes leave no id for them.")
    grid = Grid.of(raster.size_hw, spec, overlap)
    ring = grid.rows.overlap * grid.columns.extent * spec.num_classes * 4 if segmenter.gives_scores else 0
    if ring > _MAX_RING_BYTES:
        raise InputError(
            f"'{raster.name}' is so wide that {ring} bytes of scores are kept between rows of windows; accepted: "
            f"{_MAX_RING_BYTES}. Give a smaller `overlap`, or cut it."
        )
    journal = Journal(
        source=_source(Path(raster.name)),
        model=_identity(segmenter),
        settings=sha256(repr((grid, reader.bands)).encode()),
        size_hw=raster.size_hw,
    )
    with growing_map(path, journal, overwrite=overwrite) as growing:
        first_row = growing.journal.rows
        height = raster.size_hw[0]
        if first_row < height:
            for top, rows in segmenter.tiled_rows(reader, overlap=overlap, first_band=growing.journal.bands):
                valid = reader.valid(top, 0, *rows.shape)
                growing.append(rows if valid is None or nodata is None else np.where(valid, rows, np.uint8(nodata)))
                if progress:
                    progress(growing.journal.rows, height)
        place = raster.georeference
        write_class_map(
            path, growing.parts(), raster.size_hw, spec, georeference=place, nodata=nodata, overwrite=overwrite
        )
        pixels = _pixels(growing)
    blank = 0 if nodata is None else int(pixels[nodata])
    counts = {name: int(pixels[index]) for index, name in enumerate(spec.class_names)}
    return RasterResult(path=path, size_hw=raster.size_hw, counts=counts, num_blank=blank, first_row=first_row)


def _nodata(spec: ModelSpec) -> int | None:
    """Return the id of pixels without a class: the ignored one of the labels, else 255; ``None`` where all are used."""
    if spec.ignore_index is not None and spec.ignore_index >= spec.num_classes:
        return spec.ignore_index
    return MAX_CLASSES - 1 if spec.num_classes < MAX_CLASSES else None


def _pixels(growing: GrowingMap) -> NDArray[np.int64]:
    """Return how many pixels have each id."""
    pixels = np.zeros(MAX_CLASSES, np.int64)
    for part in growing.parts():
        pixels += np.bincount(part.ravel(), minlength=MAX_CLASSES)
    return pixels


def _source(path: Path) -> str:
    about = path.stat()
    return sha256(f"{path.name} {about.st_size} {about.st_mtime_ns}".encode())


def _identity(segmenter: Segmenter) -> str:
    """Return a hash that another model, or another runtime whose classes differ, does not have."""
    image = np.random.default_rng(0).integers(0, 256, (*segmenter.spec.input_size, 3), np.uint8)
    return sha256(segmenter.spec.to_json().encode() + segmenter(image).class_map.tobytes())
