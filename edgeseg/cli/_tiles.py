"""Define ``--tiles``: images at their own size, window by window, and rasters that are read and written so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeseg._internal.text import counted
from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, print_table, progress_of_steps
from edgeseg.errors import InputError
from edgeseg.spec import check_bands

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.cli._options import Results
    from edgeseg.opening import InputDescription
    from edgeseg.rasters.bands import Bands
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.segmentation import Segmentation
    from edgeseg.segmenter import Segmenter

#: The parameters of ``TILES_OPTIONS`` and of ``RASTER_OPTIONS``, for a command's headings.
TILES = ("tiles", "overlap")
RASTER_TILES = (*TILES, "bands", "band_range")

_GEOTIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class TileOptions:
    """Whether and how images are cut into windows.

    Attributes:
        tiles: whether they are.
        overlap: of windows, in pixels.
        bands: which bands of a raster are red, green and blue.
        band_range: which values become 0 and 255.
    """

    tiles: bool
    overlap: int | None
    bands: tuple[int, ...] | None = None
    band_range: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.overlap is not None and not self.tiles:
            raise InputError("--overlap goes with --tiles.")
        check_bands(self.bands, self.band_range)

    def __str__(self) -> str:
        """Return how images are segmented, as a run of many remembers and compares it."""
        if not self.tiles:
            return "off"
        return "on" if self.overlap is None else f"on with an overlap of {self.overlap}"

    def segment(self, segmenter: Segmenter, image_rgb: NDArray[np.uint8]) -> Segmentation:
        """Segment an image, as a whole or window by window."""
        return segmenter.tiled(image_rgb, overlap=self.overlap) if self.tiles else segmenter(image_rgb)

    def raster_of(self, sources: tuple[str, ...], save: str | None) -> Path | None:
        """Return the raster that is read and written by windows; ``None`` where images are read as a whole.

        Raises:
            InputError: there is one that is read by windows alone, and it is not the only source or ``--save`` names no
                GeoTIFF.
        """
        from edgeseg.rasters.opening import RASTER_SUFFIXES
        from edgeseg.rasters.whole import WHOLE_SUFFIXES

        rasters = [source for source in sources if Path(source).suffix.lower() in RASTER_SUFFIXES]
        to_raster = save is not None and Path(save).suffix.lower() in _GEOTIFF
        if self.tiles and rasters and len(sources) == 1 and to_raster:
            return Path(rasters[0])
        slides = [source for source in rasters if Path(source).suffix.lower() not in WHOLE_SUFFIXES]
        if slides:
            raise InputError(
                f"'{slides[0]}' is read by windows, one at a time, into its class map: type --tiles and --save "
                "NAME.tif."
            )
        return None

    def chosen(self) -> Bands:
        """Return the bands that are asked for."""
        from edgeseg.rasters.bands import Bands

        return Bands(self.bands, self.band_range)


#: ``--tiles`` and ``--overlap``.
TILES_OPTIONS = (
    click.option("--tiles", is_flag=True, help="Segment at the image's own size, by windows of the model's size."),
    click.option(
        "--overlap",
        type=click.IntRange(0),
        metavar="N",
        help="Pixels that neighboring windows share.",
        show_default="by the model's receptive field, else a quarter of a side",
    ),
)


#: Those, and what is read of a raster.
RASTER_OPTIONS = (
    *TILES_OPTIONS,
    _options.bands,
    _options.band_range,
)


def predict_raster(
    artifact: str,
    source: Path,
    save: str,
    options: TileOptions,
    *,
    opened_by: tuple[RuntimeOptions, InputDescription],
    results: Results,
    count: bool,
) -> None:
    """Segment a raster into a GeoTIFF, and print what ``edgeseg predict`` does.

    Args:
        artifact: the model.
        source: the raster.
        save: the GeoTIFF.
        options: the windows and bands.
        opened_by: what the model runs on, and how it is fed where it does not say.
        results: whether to replace files, and to print JSON.
        count: whether to print the pixels of each class.
    """
    from edgeseg._internal.files import refuse_existing
    from edgeseg.opening import open_segmenter
    from edgeseg.rasters import open_raster, segment_raster

    refuse_existing(Path(save), overwrite=results.overwrite)
    bands = options.chosen()
    with (
        progress_of_steps(f"opening {artifact}") as update,
        open_raster(source) as raster,
        open_segmenter(artifact, *opened_by) as segmenter,
    ):
        bands.of(raster, segmenter.spec)  # refuses what does not fit before the first window
        result = segment_raster(
            segmenter,
            raster,
            save,
            bands=bands,
            overlap=options.overlap,
            overwrite=results.overwrite,
            progress=lambda done, total: update("segmenting rows", done, total),
        )
    counts = result.counts
    if results.as_json:
        image = {"name": source.stem, "files": [str(result.path)], "counts": counts}
        print_json({"format_version": 1, "artifact": artifact, "film": None, "images": [image]})
    elif count:
        rows = [[source.stem, name, str(pixels)] for name, pixels in counts.items() if pixels]
        print_table(["Image", "Class", ">Pixels"], rows)
    if result.first_row:
        note(f"went on at row {result.first_row} of {result.size_hw[0]}, where an earlier run was")
    blank = f", {counted(result.num_blank, 'pixel')} without a value" if result.num_blank else ""
    note(f"saved: {result.path}{blank}")
