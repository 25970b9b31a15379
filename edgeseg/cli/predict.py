"""Segment images and draw their class maps (``edgeseg predict``)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg._internal.files import refuse_existing, require_writable_folder
from edgeseg.choices import SavedView, View
from edgeseg.cli import _artifacts, _options
from edgeseg.cli._fields import collect, default_of, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_table, quiet_native_logs
from edgeseg.drawing.look import Look
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeseg.cli._options import Results
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.sources import Frame


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Images": ("start_frame", "vid_stride", "max_frames", "max_image_pixels"),
        "Drawing": ("save", "views", *_options.LOOK, "legend"),
        "Runtime": _options.RUNTIME,
        "Model without spec": _options.MODEL_DESCRIPTION,
        "Results": ("count", *_options.RESULTS),
    }


@dataclass(frozen=True)
class _Drawing:
    """The files to write of each image, and how they are drawn; none where there is no place for them."""

    save: Path | None
    views: tuple[SavedView, ...]
    look: Look

    def painted(self) -> tuple[View, ...]:
        """Return the views that are drawn, without the ids."""
        return tuple(view for view in self.views if view != "ids") if self.save is not None else ()

    @property
    def is_file(self) -> bool:
        """Whether the place is one image, by its suffix."""
        from edgeseg.imaging import IMAGE_SUFFIXES

        save = self.save
        return save is not None and save.suffix.lower() in IMAGE_SUFFIXES and not save.is_dir()

    def check(self, *, overwrite: bool) -> None:
        """Refuse a place that cannot be written, before a model is opened."""
        if self.save is None:
            return
        if not self.is_file:
            require_writable_folder(self.save)
            return
        if len(self.views) > 1:
            raise InputError(f"--save {self.save} is one image, of --visualize's {len(self.views)}: give a folder.")
        if "ids" in self.views and self.save.suffix.lower() != ".png":
            raise InputError(f"--visualize ids is exact as .png, got --save {self.save}.")
        refuse_existing(self.save, overwrite=overwrite)

    def path(self, number: int, name: str, view: SavedView) -> Path:
        """Return where a view of an image goes.

        Args:
            number: of the image, from 0.
            name: of the image.
            view: what is drawn.
        """
        assert self.save is not None
        if not self.is_file:
            return self.save / f"{name}.{view}.png"
        if number:
            raise InputError(f"--save {self.save} is one image, SOURCES have more: give a folder, or --max-frames 1.")
        return self.save


def _drawing(*, save: Path | None, views: tuple[SavedView, ...], **look: Any) -> _Drawing:
    return _Drawing(save, views, Look(**look))


@dataclass(frozen=True)
class _Frames:
    """Which images of the sources are segmented."""

    start_frame: int
    vid_stride: int
    max_frames: int | None

    def read(self, sources: tuple[str, ...]) -> Iterator[Frame]:
        from edgeseg.sources import frames

        return itertools.islice(frames(sources, start=self.start_frame, stride=self.vid_stride), self.max_frames)


@click.command(
    "predict",
    cls=_Command,
    help=help_of(
        "predict",
        f"{_artifacts.HELP} SOURCES are images, videos, folders and patterns.",
    ),
)
@click.argument("arguments", nargs=-1, required=True, metavar="[ARTIFACT] SOURCES...")
@collect(
    "frames",
    _Frames,
    click.option("--start-frame", type=click.IntRange(0), default=0, show_default=True, help="First frame of a video."),
    click.option(
        "--vid-stride", type=click.IntRange(1), default=1, show_default=True, help="Take every n-th frame of a video."
    ),
    click.option("--max-frames", type=click.IntRange(1), help="Stop after so many images."),
)
@collect(
    "drawing",
    _drawing,
    click.option(
        "--save",
        type=click.Path(path_type=Path),
        metavar="FILE|DIR",
        help="Image file for a single drawn image, or folder.",
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
    _options.anonymize,
    # The command shows it by default; a program, which draws into its own images, asks for it.
    option(Look, "legend", default=True, help="Name and share of each class at the right."),
)
@click.option("--count", is_flag=True, help="Print the pixels of every class.")
@_options.max_image_pixels
@_options.runtime
@_options.model_description
@_options.results
def command(
    arguments: tuple[str, ...],
    frames: _Frames,
    drawing: _Drawing,
    count: bool,
    runtime: RuntimeOptions,
    description: InputDescription,
    results: Results,
) -> None:
    """Run ``edgeseg predict``."""
    from edgeseg._internal.files import write_bytes
    from edgeseg.drawing.legend import add_legend
    from edgeseg.drawing.painter import Painter, render
    from edgeseg.imaging import encode_image
    from edgeseg.opening import open_segmenter

    quiet_native_logs()
    if drawing.save is None and not count and not results.as_json:
        raise InputError("nothing to do: give --save FILE or DIR, --count or --json.")
    chosen, sources = _artifacts.split_sources(arguments)
    artifact = _artifacts.artifact_or_default(chosen)
    drawing.check(overwrite=results.overwrite)
    images: list[dict[str, Any]] = []
    with open_segmenter(artifact, runtime, description) as segmenter:
        Painter(segmenter.spec, replace(drawing.look, view="mask"))  # refuses a class before the first image
        for view in drawing.painted():
            Painter(segmenter.spec, replace(drawing.look, view=view))
        for number, frame in enumerate(frames.read(sources)):
            segmentation = segmenter(frame.image_rgb)
            files = []
            for saved in drawing.views if drawing.save is not None else ():
                image = segmentation.class_map
                if saved != "ids":
                    look = replace(drawing.look, view=saved)
                    image = render(frame.image_rgb, segmentation, look)
                    if look.legend:
                        image = add_legend(image, segmentation, look)
                path = drawing.path(number, frame.name, saved)
                write_bytes(path, encode_image(image, path.suffix), overwrite=results.overwrite)
                files.append(str(path))
                note(str(path))
            images.append({"name": frame.name, "files": files, "counts": segmentation.counts()})
    if results.as_json:
        print_json({"format_version": 1, "artifact": artifact, "images": images})
    elif count:
        rows = [[entry["name"], name, str(n)] for entry in images for name, n in entry["counts"].items() if n]
        print_table(["Image", "Class", ">Pixels"], rows)
