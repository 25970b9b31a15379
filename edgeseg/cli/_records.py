"""Define what commands record besides images: counts, also in regions of interest, polygons, DICOM SEG."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from edgeseg._internal.text import counted
from edgeseg.choices import LengthUnit, PolygonFormat
from edgeseg.cli._fields import collect, option
from edgeseg.cli._ignored import refuse_typed
from edgeseg.cli._options import FILE, FOLDER
from edgeseg.cli._saving import free_place
from edgeseg.drawing.look import Look
from edgeseg.errors import InputError
from edgeseg.polygons.options import PolygonOptions

if TYPE_CHECKING:
    from edgeseg.camera.loop import SegmentedFrame
    from edgeseg.counting.counts import RegionCounts
    from edgeseg.counting.regions import Regions
    from edgeseg.counting.table import CountsTable
    from edgeseg.medical.segments import SegmentFiles
    from edgeseg.medical.window import Window
    from edgeseg.polygons.files import PolygonFiles
    from edgeseg.segmentation import Segmentation
    from edgeseg.sources import Frame
    from edgeseg.spec import ModelSpec

F = TypeVar("F", bound=Callable[..., Any])


class WindowType(click.ParamType["Window"]):
    """``40,400``: center and width of the gray values of a DICOM image."""

    name = "CENTER,WIDTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Window:
        """Parse; any value but two numbers is a usage error."""
        from edgeseg.medical.window import Window

        if isinstance(value, Window):
            return value
        try:
            center, width = (float(number) for number in str(value).split(","))
            window = Window(center, width)
            window.check()
        except ValueError:
            self.fail(f"'{value}' is no window; accepted: center and width, as 40,400.", param, ctx)
        return window


class LengthType(click.ParamType[tuple[float, LengthUnit]]):
    """``0.5``, ``0.5px`` or ``2crs``: a length in pixels, or in units of a coordinate reference system."""

    name = "N|Npx|Ncrs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, LengthUnit]:
        """Parse; any value but a number and a unit is a usage error."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        unit: LengthUnit = "crs" if text.endswith("crs") else "px"
        try:
            return float(text.removesuffix(unit)), unit
        except ValueError:
            accepted = "pixels, as 0.5 or 0.5px, or units of a map, as 2crs"
            self.fail(f"'{value}' is no length; accepted: {accepted}.", param, ctx)


save_counts = click.option(
    "--save-counts",
    type=FILE,
    metavar="FILE.csv",
    help="Table with a row a frame: pixels and share of every class.",
)
region = click.option(
    "--region", type=FILE, metavar="FILE.json", help="Count in these polygons too, of labelme or GeoJSON."
)
window = click.option(
    "--window",
    type=WindowType(),
    help="Gray values of DICOM images that are told apart, such as 40,400.",
    show_default="the file's own",
)

#: The parameters of ``records``, for a command's headings: what is counted, and what is written for other tools.
COUNTS = ("count", "save_counts", "region")
SHAPES = ("polygons", "tolerance", "min_area", "polygons_dir", "dicom_seg")


@dataclass(frozen=True, kw_only=True)
class Records:
    """What is recorded of each image, besides drawings of it."""

    count: bool
    save_counts: Path | None
    region: Path | None
    polygons: PolygonOptions | None
    polygons_dir: Path | None
    dicom_seg: Path | None

    @property
    def suffice(self) -> bool:
        """Whether nothing need be drawn for a run to have a result."""
        return bool(self.count or self.save_counts or self.polygons or self.dicom_seg)

    @property
    def on_map(self) -> bool:
        """Whether a length is given in units of a map."""
        return self.polygons is not None and self.polygons.tolerance_unit == "crs"

    def check(self, *, as_json: bool) -> None:
        """Refuse options that go with others, before anything is opened."""
        if self.region is not None and not (self.count or self.save_counts or as_json):
            raise InputError("--region counts in its polygons: give --count, --save-counts FILE.csv or --json with it.")
        if self.polygons_dir is not None and self.polygons is None:
            raise InputError(f"--polygons-dir is for --polygons {'|'.join(get_args(PolygonFormat))}.")
        if self.polygons is not None:
            self.polygons.check()
        else:
            refuse_typed(("tolerance", "min_area"), f"is for --polygons {'|'.join(get_args(PolygonFormat))}")

    def require_counts(self, what: str) -> None:
        """Raise ``InputError`` where more is asked for than ``--count``.

        Args:
            what: has counts alone, and what to do for more.
        """
        asked = {
            "--save-counts": self.save_counts,
            "--region": self.region,
            "--polygons": self.polygons,
            "--dicom-seg": self.dicom_seg,
        }
        for flag, value in asked.items():
            if value is not None:
                raise InputError(f"{flag} is not for {what}.")

    def folder(self, save: str | None) -> Path:
        """Return where polygons go: as it is said, else where drawings go, else a new folder of ``runs``."""
        if self.polygons_dir is not None:
            return self.polygons_dir
        if save is None or save.startswith(("ffmpeg:", "camera:")) or "://" in save:
            return free_place("predict")
        path = Path(save)
        return path if path.suffix == "" or path.is_dir() or save.endswith("/") else path.parent


def _records(
    *, polygons: PolygonFormat | None, tolerance: tuple[float, LengthUnit], min_area: int, **others: Any
) -> Records:
    length, unit = tolerance
    options = None if polygons is None else PolygonOptions(polygons, length, min_area, unit)
    return Records(polygons=options, **others)


def records(function: F) -> F:
    """Add the options that ask for counts, polygons and DICOM SEG, as one argument ``records``."""
    return collect(
        "records",
        _records,
        click.option("--count", is_flag=True, help="Print the pixels of every class."),
        save_counts,
        region,
        click.option(
            "--polygons",
            type=click.Choice(get_args(PolygonFormat)),
            help="Write the areas of each class as polygons, for other tools.",
        ),
        option(
            PolygonOptions,
            "tolerance",
            type=LengthType(),
            help="Pixels, or units of a map (2crs), by which polygons may be simpler than the areas; up to half a "
            "pixel nothing is lost.",
        ),
        option(PolygonOptions, "min_area", type=click.IntRange(1), help="Pixels of the smallest area that is written."),
        click.option(
            "--polygons-dir",
            type=FOLDER,
            help="Folder for polygons.",
            show_default="that of --save, else a new one in runs",
        ),
        click.option("--dicom-seg", type=FOLDER, help="Folder for DICOM SEG of the DICOM images."),
    )(function)


class Recorder:
    """Records images one by one; nothing is created before the first."""

    def __init__(self, records: Records, save: str | None, *, overwrite: bool) -> None:
        """Refuse what cannot be written or read, before a model is opened.

        Args:
            records: what is recorded.
            save: where drawings go; ``None`` where there are none.
            overwrite: whether files may be replaced.
        """
        from edgeseg._internal.files import refuse_existing, require_writable_folder

        self._records, self._overwrite = records, overwrite
        self._folder = None if records.polygons is None else records.folder(save)
        self._regions: Regions | None = None
        self._table: CountsTable | None = None
        self._polygons: PolygonFiles | None = None
        self._segments: SegmentFiles | None = None
        if records.region is not None:
            from edgeseg.counting.regions import Regions

            self._regions = Regions.read(records.region)
        if records.save_counts is not None:
            refuse_existing(records.save_counts, overwrite=overwrite)
        if records.polygons is not None and records.polygons.format == "coco" and self._folder is not None:
            from edgeseg.polygons.coco import NAME

            refuse_existing(self._folder / NAME, overwrite=overwrite)
        for folder in filter(
            None, (self._folder, records.dicom_seg, records.save_counts and records.save_counts.parent)
        ):
            require_writable_folder(folder)

    def open(self, stack: ExitStack, spec: ModelSpec, look: Look) -> None:
        """Open what is written; it is finished with the stack.

        Args:
            stack: closes the files.
            spec: the model.
            look: which classes are shown.
        """
        from edgeseg.counting.table import CountsTable
        from edgeseg.drawing.class_filter import class_filter

        self._spec = spec
        records, overwrite = self._records, self._overwrite
        shown = class_filter(spec, replace(look, view="overlay"))
        if records.save_counts is not None:
            self._table = stack.enter_context(CountsTable(records.save_counts, spec, overwrite=overwrite))
        if records.polygons is not None and self._folder is not None:
            from edgeseg.polygons.files import PolygonFiles

            files = PolygonFiles(self._folder, spec, records.polygons, shown=shown, overwrite=overwrite)
            self._polygons = stack.enter_context(files)
        if records.dicom_seg is not None:
            from edgeseg.medical.segments import SegmentFiles

            self._segments = stack.enter_context(SegmentFiles(records.dicom_seg, spec, shown, overwrite=overwrite))

    def add(self, frame: Frame, segmentation: Segmentation) -> tuple[list[str], list[RegionCounts]]:
        """Record an image; return its own files, and its counts: of the whole image, and of each region."""
        from edgeseg.counting.counts import count

        counts = count(segmentation.class_map, self._spec, self._regions, spacing_mm=frame.spacing_mm)
        if self._table is not None:
            self._table.add(frame.name, frame.time_s, counts)
        files = []
        if self._polygons is not None:
            files = self._polygons.write(
                frame.name,
                segmentation.class_map,
                path=frame.path,
                spacing_mm=frame.spacing_mm,
                georeference=frame.georeference,
            )
        if self._segments is not None:
            if frame.spacing_mm is None and not _is_dicom(frame):
                raise InputError(f"--dicom-seg is for DICOM images, and '{frame.name}' is none.")
            assert frame.path is not None
            self._segments.add(frame.path, segmentation.class_map)
        return [str(path) for path in files], counts

    def written(self) -> dict[str, Any]:
        """Return what was written of all images, for JSON."""
        written: dict[str, Any] = {}
        if self._table is not None:
            written["counts"] = str(self._table.path) if self._table.num_rows else None
        if self._polygons is not None and self._records.polygons is not None:
            about = {"format": self._records.polygons.format, "areas": self._polygons.num_areas}
            written["polygons"] = {"path": str(self._polygons.path), **about}
        if self._segments is not None:
            written["dicom_seg"] = [str(path) for path in self._segments.paths]
        return written

    def texts(self) -> list[str]:
        """Say what was written, and where."""
        texts = []
        if self._table is not None:
            texts.append(f"saved: {counted(self._table.num_rows, 'row')} in {self._table.path}")
        if self._polygons is not None:
            texts.append(f"saved: {counted(self._polygons.num_areas, 'polygon')} in {self._polygons.path}")
        if self._segments is not None:
            texts += [f"saved: {path}" for path in self._segments.paths]
        return texts


class LiveCounts:
    """Writes the counts of a camera's frames as they are shown, into a file that grows.

    They are counted in the class map of the model's size, without the bars: of a small map that takes no time from the
    loop, and shares are the same.
    """

    def __init__(self, path: Path, region: Path | None, spec: ModelSpec, *, overwrite: bool) -> None:
        """Prepare; the file is created with the first frame.

        Args:
            path: of the CSV file.
            region: file of regions of interest.
            spec: the model.
            overwrite: whether an existing file may be replaced.
        """
        from edgeseg.counting.regions import Regions
        from edgeseg.counting.table import CountsTable

        self._regions = None if region is None else Regions.read(region)
        self._table = CountsTable(path, spec, overwrite=overwrite, growing=True)
        self._begun_s: float | None = None

    def add(self, frame: SegmentedFrame) -> None:
        """Append the rows of a frame; of a live source, time begins with the first."""
        from edgeseg.counting.counts import count

        captured = frame.captured
        if self._begun_s is None:
            self._begun_s = captured.captured_s
        time_s = captured.captured_s - self._begun_s if captured.time_s is None else captured.time_s
        height, width = frame.image_bgr.shape[:2]
        self._table.add(
            captured.name, time_s, count(frame.model_map, frame.spec, self._regions, image_hw=(height, width))
        )

    def __enter__(self) -> LiveCounts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._table.__exit__(kind, error, tb)


def _is_dicom(frame: Frame) -> bool:
    from edgeseg.sources.animation import kind_of

    return frame.path is not None and kind_of(frame.path) == "dicom"


def entry_of(frame: Frame, files: list[str], counts: list[RegionCounts]) -> dict[str, Any]:
    """Return what JSON has of an image."""
    whole, *regions = counts
    entry: dict[str, Any] = {"name": frame.name, "files": files, "counts": dict(whole.pixels)}
    if frame.time_s is not None:
        entry["time_s"] = frame.time_s
    if frame.spacing_mm is not None:
        entry["areas_mm2"] = whole.to_dict()["areas_mm2"]
    if regions:
        entry["regions"] = {each.region: each.to_dict() for each in regions}
    return entry


def count_table(counts: list[tuple[str, list[RegionCounts]]]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the printed table: classes that occur; regions and square millimeters where known."""
    several = any(len(each) > 1 for _, each in counts)
    sized = any(whole.mm2_per_pixel is not None for _, (whole, *_) in counts)
    columns = ["Image", *(["Region"] if several else []), "Class", ">Pixels"]
    columns += [*([">Share"] if several else []), *([">mm²"] if sized else [])]
    rows = []
    for name, each in counts:
        for part in each:
            for label, pixels in part.pixels.items():
                if not pixels:
                    continue
                row = [name, *([part.region or "(all)"] if several else []), label, str(pixels)]
                row += [f"{pixels / part.size:.2%}"] if several else []
                row += [f"{pixels * (part.mm2_per_pixel or 0):.2f}"] if sized else []
                rows.append(row)
    return columns, rows
