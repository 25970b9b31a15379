"""Segment images and draw their class maps (``edgeseg predict``)."""

from __future__ import annotations

import itertools
import shlex
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg._internal.text import counted, masked
from edgeseg.choices import SavedView, View
from edgeseg.cli import _artifacts, _batch, _completion, _options, _records, _tiles
from edgeseg.cli._fields import collect, default_of, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._ignored import refuse_for_kinds, refuse_typed
from edgeseg.cli._saving import free_place
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_table, progress_of_steps, quiet_native_logs
from edgeseg.drawing.look import Look
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.cli._options import Results
    from edgeseg.cli._records import Records
    from edgeseg.cli._tiles import TileOptions
    from edgeseg.counting.counts import RegionCounts
    from edgeseg.drawing.painter import Painter
    from edgeseg.medical.window import Window
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.segmentation import Segmentation
    from edgeseg.sinks import Sink
    from edgeseg.sources import Frame
    from edgeseg.sources.extent import Extent
    from edgeseg.spec import ModelSpec


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Images": ("start_frame", "vid_stride", "max_frames", "window", "max_image_pixels"),
        "Large images": _tiles.RASTER_TILES,
        "Drawing": ("save", "views", *_options.LOOK, "legend"),
        "Files for other tools": _records.SHAPES,
        "Many images": _batch.MANY,
        "Runtime": _options.RUNTIME,
        "Model without spec": _options.MODEL_DESCRIPTION,
        "Results": (*_records.COUNTS, *_options.RESULTS),
    }


#: Parameters of what is drawn alone, and those of how images and videos are read; a raster that is read and written by
#: windows has neither.
_DRAWN = ("views", "alpha", "matte", "anonymize", "legend")
_OF_IMAGES = (*("start_frame", "vid_stride", "max_frames", "window", "max_image_pixels"), *_options.LOOK)


@dataclass(frozen=True)
class _Drawing:
    """What ``--save`` names, and how images are drawn."""

    save: str | None
    views: tuple[SavedView, ...]
    look: Look

    def painted(self) -> tuple[View, ...]:
        """Return the views that are drawn, without the ids."""
        return tuple(view for view in self.views if view != "ids")

    def draw(self, view: SavedView, image_rgb: NDArray[np.uint8], segmentation: Segmentation) -> NDArray[np.uint8]:
        """Return an image as it is saved: RGB, RGBA for a cut-out, class ids."""
        from edgeseg.drawing.legend import add_legend
        from edgeseg.drawing.painter import render

        if view == "ids":
            return segmentation.class_map
        look = replace(self.look, view=view)
        image = render(image_rgb, segmentation, look)
        return add_legend(image, segmentation, look) if look.legend else image


def _drawing(*, save: str | None, views: tuple[SavedView, ...], **look: Any) -> _Drawing:
    _options.require_soft_view(look["matte"], views)
    return _Drawing(save, views, Look(**look))


class _Files:
    """The images or the film that a run writes; nothing is created before the first."""

    def __init__(self, drawing: _Drawing, place: str, frames: _Frames, extent: Extent, *, overwrite: bool) -> None:
        from edgeseg.sinks.targets import require_place

        one_frame = extent.still is not False or frames.max_frames == 1
        self.kind = require_place(place, still=bool(extent.still), one_frame=one_frame, overwrite=overwrite)
        self._one_frame = bool(extent.still) or frames.max_frames == 1
        self._drawing, self._place, self._overwrite = drawing, place, overwrite
        self._fps = (extent.fps or 25.0) / frames.vid_stride
        self._film: Sink | None = None
        self._painter: Painter | None = None
        self.num_images = 0
        self._check(drawing.views)

    def _check(self, views: tuple[SavedView, ...]) -> None:
        if self.kind == "folder":
            return
        what, path = f"--save {self._place}", Path(self._place.removeprefix("ffmpeg:"))

        def typed(suffix: str) -> str:
            return shlex.quote(str(path.with_suffix(suffix)))

        if len(views) > 1:
            raise InputError(f"{what} has one view of {', '.join(views)}: type --save {typed('')}/ for a folder.")
        if views[0] == "ids" and self.kind != "image":
            raise InputError(f"--visualize ids is exact in images alone, not in {what}: type --save {typed('')}/.")
        # The ids and a cut-out's transparency are in the bytes and the fourth channel, which PNG keeps.
        if views[0] in ("ids", "cutout") and path.suffix.lower() != ".png" and self.kind == "image":
            raise InputError(f"--visualize {views[0]} is exact as PNG: type --save {typed('.png')}.")

    def write(self, frame: Frame, segmentation: Segmentation) -> list[str]:
        """Write the views of an image; return the paths of its own files, none of a film."""
        from edgeseg._internal.files import write_bytes
        from edgeseg.imaging import encode_image
        from edgeseg.sinks import TimedSink, open_sink
        from edgeseg.sinks.targets import FILMS, several_frames

        # The first frame tells whether an address or standard input is a video.
        if self.kind == "image" and not self._one_frame and (frame.frame_s is not None or self.num_images):
            raise several_frames(Path(self._place))
        self.num_images += 1
        if self.kind in FILMS:
            if self._film is None:
                self._film = open_sink(self._place, fps=frame.fps or self._fps, overwrite=self._overwrite)
            image = self._frame(frame, segmentation)
            if isinstance(self._film, TimedSink):
                self._film.write_at(image, frame.name, frame.time_s, frame.frame_s)
            else:
                self._film.write(image, frame.name)
            return []
        paths = []
        for view in self._drawing.views:
            path = Path(self._place)
            path = path if self.kind == "image" else path / f"{frame.name}.{view}.png"
            image = self._drawing.draw(view, frame.image_rgb, segmentation)
            write_bytes(path, encode_image(image, path.suffix), overwrite=self._overwrite)
            paths.append(str(path))
        return paths

    def _frame(self, frame: Frame, segmentation: Segmentation) -> NDArray[np.uint8]:
        """Draw a frame of a film as ``camera`` does, BGR: its legend is on the frame, and does not flicker."""
        import numpy as np

        from edgeseg.drawing.legend import LiveLegend
        from edgeseg.drawing.painter import Painter

        if self._painter is None:
            look = replace(self._drawing.look, view=self._drawing.painted()[0])
            self._painter = Painter(segmentation.spec, look, order="bgr")
            self._legend = LiveLegend(segmentation.spec, self._painter, order="bgr") if look.legend else None
        class_map = np.ascontiguousarray(segmentation.class_map)
        scores = segmentation.score_map if self._painter.soft else None
        share = None if scores is None else scores.share(self._painter.shown)
        image = self._painter(np.ascontiguousarray(frame.image_rgb[..., ::-1]), class_map, share)
        if self._legend is not None:
            self._legend.draw(image, class_map)
        return image

    def close(self) -> None:
        """Finish a film."""
        if self._film is not None:
            self._film.close()

    def text(self) -> str:
        """Say what was written, and where."""
        if self.kind == "image":
            return f"saved: {self._place}"
        if self.kind == "folder":
            return f"saved: {counted(self.num_images * len(self._drawing.views), 'image')} in {self._place}"
        return f"saved: {counted(self.num_images, 'frame')} as {self.film}"

    @property
    def film(self) -> str | None:
        """The film, without the key that a stream's address has; ``None`` where images are written."""
        from edgeseg.sinks.targets import FILMS

        target = self._place.removeprefix("ffmpeg:")
        return masked(target, stream_key="://" in target) if self.kind in FILMS else None


@dataclass(frozen=True, kw_only=True)
class _Frames:
    """Which images of the sources are segmented."""

    start_frame: int
    vid_stride: int
    max_frames: int | None
    window: Window | None
    tiles: TileOptions

    def read(self, sources: tuple[str, ...], spec: ModelSpec, *, placed: bool) -> Iterator[Frame]:
        from edgeseg.rasters.whole import RasterImages
        from edgeseg.sources import frames

        read = RasterImages(self.tiles.chosen(), spec, placed=placed)
        found = frames(sources, start=self.start_frame, stride=self.vid_stride, window=self.window, read=read)
        return itertools.islice(found, self.max_frames)

    def total(self, extent: Extent) -> int:
        """Return how many there will be; 0 where that is not known."""
        return min(extent.num_frames, self.max_frames or extent.num_frames)


_NO_FRAMES = _Frames(
    start_frame=0, vid_stride=1, max_frames=None, window=None, tiles=_tiles.TileOptions(tiles=False, overlap=None)
)


def _frames(
    *, start_frame: int, vid_stride: int, max_frames: int | None, window: Window | None, **tiles: Any
) -> _Frames:
    return _Frames(
        start_frame=start_frame,
        vid_stride=vid_stride,
        max_frames=max_frames,
        window=window,
        tiles=_tiles.TileOptions(**tiles),
    )


@click.command(
    "predict",
    cls=_Command,
    help=help_of(
        "predict",
        f"{_artifacts.HELP} SOURCES are images, videos, animations (GIF, APNG, WebP), folders, patterns, web "
        "addresses, and - for standard input; of many images also @LIST and addresses of object stores. The sound of a "
        "video is not saved; camera saves it.",
    ),
)
@click.argument(
    "arguments",
    nargs=-1,
    required=True,
    metavar="[ARTIFACT] SOURCES...",
    shell_complete=_completion.artifact_then_files,
)
@collect(
    "frames",
    _frames,
    click.option("--start-frame", type=click.IntRange(0), default=0, show_default=True, help="First frame of a video."),
    click.option(
        "--vid-stride", type=click.IntRange(1), default=1, show_default=True, help="Take every n-th frame of a video."
    ),
    click.option("--max-frames", type=click.IntRange(1), help="Stop after so many images."),
    _records.window,
    *_tiles.RASTER_OPTIONS,
)
@collect(
    "drawing",
    _drawing,
    click.option(
        "--save",
        metavar="FILE|DIR",
        help="FILE.png for one image, FILE.mp4 for a film, or a folder for drawn images, here or in a store.",
        show_default="runs/predict, runs/predict2, ...; none where another result is asked for",
    ),
    click.option(
        "--visualize",
        "views",
        type=_options.NamesType(get_args(SavedView)),
        default=default_of(Look, "view"),
        show_default=True,
        help="What to draw, with commas between.",
    ),
    _options.alpha,
    _options.shown_classes,
    _options.except_classes,
    _options.paint_background,
    _options.matte,
    _options.anonymize,
    # The command shows it by default; a program, which draws into its own images, asks for it.
    option(Look, "legend", default=True, help="Name and share of each class at the right."),
)
@_batch.many
@_records.records
@_options.max_image_pixels
@_options.runtime
@_options.model_description
@_options.results
def command(
    arguments: tuple[str, ...],
    frames: _Frames,
    drawing: _Drawing,
    many: _batch.Many,
    records: Records,
    runtime: RuntimeOptions,
    description: InputDescription,
    results: Results,
) -> int:
    """Run ``edgeseg predict``."""
    from edgeseg.drawing.painter import Painter
    from edgeseg.opening import open_segmenter
    from edgeseg.sources.extent import extent

    quiet_native_logs()
    tiles = frames.tiles
    records.check(as_json=results.as_json)
    if many.asked([*arguments, drawing.save or ""]):
        if frames != replace(_NO_FRAMES, tiles=tiles):
            raise InputError("--start-frame, --vid-stride, --max-frames and --window are not for many images.")
        refuse_typed(("bands", "band_range"), "is not for many images, which are read as 8-bit RGB")
        records.require_counts("many images: omit it, or segment the images one after the other")
        opened_by = runtime, description
        return _batch.predict(arguments, many, drawing, opened_by, tiles, count=records.count, results=results)
    # Where another result is asked for, a folder of drawings would be litter.
    place = drawing.save
    if place is None and not (records.suffice or results.as_json):
        place = str(free_place("predict"))
    chosen, sources = _artifacts.split_sources(arguments)
    raster = tiles.raster_of(sources, drawing.save)
    if raster is not None and drawing.save is not None:
        refuse_typed(_DRAWN, f"is for drawn images; '{drawing.save}' gets the class ids, with the colors as palette")
        refuse_typed(_OF_IMAGES, "is for images and videos that are read as a whole")
        records.require_counts(f"a raster that is read by windows: save something else than '{drawing.save}'")
        artifact, opened_by, count = _artifacts.artifact_or_default(chosen), (runtime, description), records.count
        _tiles.predict_raster(artifact, raster, drawing.save, tiles, opened_by=opened_by, results=results, count=count)
        return 0
    if place is None:
        refuse_typed(_DRAWN, "is for drawn images: give --save with it")
    refuse_for_kinds(sources, dicom_seg=records.dicom_seg is not None, on_map=records.on_map)
    recorder = _records.Recorder(records, drawing.save, overwrite=results.overwrite)
    there = extent(sources, start=frames.start_frame, stride=frames.vid_stride)
    files = None if place is None else _Files(drawing, place, frames, there, overwrite=results.overwrite)
    artifact = _artifacts.artifact_or_default(chosen)
    images: list[dict[str, Any]] = []
    counts: list[tuple[str, list[RegionCounts]]] = []
    with progress_of_steps(f"opening {artifact}") as update, ExitStack() as stack:
        segmenter = stack.enter_context(open_segmenter(artifact, runtime, description))
        Painter(segmenter.spec, replace(drawing.look, view="mask"))  # refuses a class before the first image
        for view in drawing.painted() if files is not None else ():
            Painter(segmenter.spec, replace(drawing.look, view=view))
        recorder.open(stack, segmenter.spec, drawing.look)
        if files is not None:
            stack.callback(files.close)
        total, placed = frames.total(there), records.polygons is not None
        for number, frame in enumerate(frames.read(sources, segmenter.spec, placed=placed)):
            update("segmenting" if total else f"segmenting, {counted(number, 'image')} done", number, total)
            segmentation = tiles.segment(segmenter, frame.image_rgb)
            written = [] if files is None else files.write(frame, segmentation)
            files_of_it, counted_here = recorder.add(frame, segmentation)
            # Kept where it is printed: of a video of hours nothing else grows.
            if results.as_json:
                images.append(_records.entry_of(frame, [*written, *files_of_it], counted_here))
            elif records.count:
                counts.append((frame.name, counted_here))
    if results.as_json:
        film = None if files is None else files.film
        about = {"format_version": 1, "artifact": artifact, "film": film, **recorder.written()}
        print_json({**about, "images": images})
    elif records.count:
        print_table(*_records.count_table(counts))
    for text in [*([] if files is None else [files.text()]), *recorder.texts()]:
        note(text)
    return 0
