"""``edgeseg predict``: class maps of images, drawn."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg.choices import View
from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, print_table, quiet_native_logs

if TYPE_CHECKING:
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions


@click.command("predict")
@click.argument("artifact", type=click.Path())
@click.argument("sources", nargs=-1, required=True)
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), help="Folder for the drawn images.")
@click.option("--visualize", type=_options.NamesType(get_args(View)), default="overlay", show_default=True)
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.6, show_default=True, help="Weight of the colors.")
@click.option("--classes", type=_options.NamesType(), help="Show only these classes, with commas between.")
@click.option("--legend/--no-legend", default=True, help="Name and share of each class at the right.")
@click.option("--count", is_flag=True, help="Print the pixels of every class.")
@click.option("--start-frame", type=click.IntRange(0), default=0, show_default=True, help="First frame of a video.")
@click.option("--vid-stride", type=click.IntRange(1), default=1, show_default=True, help="Every n-th frame of a video.")
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many images.")
@_options.runtime
@_options.foreign
@_options.overwrite
@_options.as_json
def command(
    artifact: str,
    sources: tuple[str, ...],
    save: Path | None,
    visualize: tuple[View, ...],
    alpha: float,
    classes: tuple[str, ...] | None,
    legend: bool,
    count: bool,
    start_frame: int,
    vid_stride: int,
    max_frames: int | None,
    runtime: RuntimeOptions,
    feeding: InputDescription,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Segment SOURCES (images, videos, folders, patterns) with ARTIFACT (.tflite, .onnx or .keras)."""
    from edgeseg._internal.files import require_writable_folder, write_bytes
    from edgeseg.drawing.legend import add_legend
    from edgeseg.drawing.painter import Painter, class_filter, render
    from edgeseg.errors import InputError
    from edgeseg.imaging import encode_image
    from edgeseg.opening import open_segmenter
    from edgeseg.sources import frames

    quiet_native_logs()
    if save is None and not count and not as_json:
        raise InputError("nothing to do: give --save DIR, --count or --json.")
    if save is not None:
        require_writable_folder(save)
    results: list[dict[str, Any]] = []
    with open_segmenter(artifact, runtime, feeding) as segmenter:
        class_filter(segmenter.spec, classes)
        for view in visualize if save is not None else ():
            Painter(segmenter.spec, view, classes=classes)  # refuses before the first image what it cannot draw
        for frame in itertools.islice(frames(sources, start=start_frame, stride=vid_stride), max_frames):
            segmentation = segmenter(frame.image_rgb)
            files = []
            for view in visualize if save is not None else ():
                image = render(view, frame.image_rgb, segmentation, alpha=alpha, classes=classes)
                if legend:
                    image = add_legend(image, segmentation, classes=classes)
                path = Path(save or ".") / f"{frame.name}.{view}.png"
                write_bytes(path, encode_image(image), overwrite=overwrite)
                files.append(str(path))
                note(str(path))
            results.append({"name": frame.name, "files": files, "counts": segmentation.counts()})
    if as_json:
        print_json({"format_version": 1, "artifact": artifact, "images": results})
    elif count:
        rows = [[r["name"], name, str(n)] for r in results for name, n in r["counts"].items() if n]
        print_table(["Image", "Class", ">Pixels"], rows)
