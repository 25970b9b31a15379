"""Define ``--tiles``: images at their own size, window by window, and rasters that are read and written so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeseg._internal.text import counted
from edgeseg.cli._terminal import note, print_json, print_table, progress_of_steps
from edgeseg.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.cli._options import Results
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.segmentation import Segmentation
    from edgeseg.segmenter import Segmenter

#: The parameters of ``TILES_OPTIONS`` and of ``RASTER_OPTIONS``, for a command's headings.
TILES = ("tiles", "overlap")
RASTER_TILES = (*TILES, "bands", "band_range")

_GEOTIFF = (".tif", ".tiff")


class NumbersType(click.ParamType[tuple[float, ...]]):
    """``0,3000``: numbers with commas between."""

    def __init__(self, name: str, kind: type[int] | type[float]) -> None:
        self.name, self._kind = name, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Parse; any value but numbers is a usage error."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(number) for number in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not {self.name}: numbers with commas between.", param, ctx)


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
        given = {"overlap": self.overlap, "bands": self.bands, "band-range": self.band_range}
        for name, value in given.items():
            if value is not None and not self.tiles:
                raise InputError(f"--{name} goes with --tiles.")

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
            InputError: there is one and ``--save`` names no GeoTIFF, or there is none and bands are chosen.
        """
        from edgeseg.rasters.opening import RASTER_SUFFIXES

        rasters = [source for source in sources if Path(source).suffix.lower() in RASTER_SUFFIXES]
        to_raster = save is not None and Path(save).suffix.lower() in _GEOTIFF
        if self.tiles and rasters and len(sources) == 1 and to_raster:
            return Path(rasters[0])
        slides = [source for source in rasters if Path(source).suffix.lower() not in _GEOTIFF]
        if slides:
            raise _one_raster(f"'{slides[0]}' is read by windows")
        self.require_images()
        return None

    def require_images(self) -> None:
        """Raise ``InputError`` where the bands of a raster are chosen."""
        if self.bands or self.band_range:
            raise _one_raster("--bands and --band-range are for a raster")


def _one_raster(what: str) -> InputError:
    return InputError(f"{what}, one at a time, into its class map: type --tiles and --save NAME.tif.")


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
    click.option(
        "--bands",
        type=NumbersType("R,G,B", int),
        help="Bands of a raster that are red, green and blue, from 1.",
        show_default="the three that there are",
    ),
    click.option(
        "--band-range",
        type=NumbersType("LOW,HIGH", float),
        help="Values of a raster that become 0 and 255, for all three or for each.",
        show_default="bytes as they are",
    ),
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
    from edgeseg.rasters import Bands, open_raster, segment_raster

    views = click.get_current_context().get_parameter_source("views")
    if views is click.core.ParameterSource.COMMANDLINE:
        raise InputError(f"--visualize is for drawn images; '{save}' gets the class ids, with the colors as palette.")
    refuse_existing(Path(save), overwrite=results.overwrite)
    bands = Bands(options.bands, options.band_range)
    with (
        progress_of_steps(f"opening {artifact}") as update,
        open_raster(source) as raster,
        open_segmenter(artifact, *opened_by) as segmenter,
    ):
        bands.of(raster)  # refuses what does not fit before the first window
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
