"""``edgeseg camera``: segment a camera, stream, video or images as they come, and show how old each frame is."""

from __future__ import annotations

import json
import re
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg.choices import View
from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, quiet_native_logs
from edgeseg.spec import Color

if TYPE_CHECKING:
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.sinks import Window


class _AddressType(click.ParamType[tuple[str, int]]):
    """``8080`` or ``0.0.0.0:8080``."""

    name = "[HOST:]PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            self.fail(f"'{value}' is no address; accepted: 8080 or 0.0.0.0:8080.", param, ctx)
        return host.strip("[]") or "127.0.0.1", int(port)


@click.command("camera")
@click.argument("artifact", type=click.Path())
@click.option("--source", default="0", show_default=True, help="Camera index or device, file, folder, pattern or URL.")
@click.option("--visualize", type=click.Choice(get_args(View)), default="overlay", show_default=True)
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.6, show_default=True, help="Weight of the colors.")
@click.option("--classes", type=_options.NamesType(), help="Show only these classes, with commas between.")
@click.option("--background", help="For --visualize replace: an image, or a color as '#00b140'.")
@click.option("--legend/--no-legend", default=True, help="Name and share of each class, on the frame.")
@click.option("--status/--no-status", default=True, help="fps, inference time, age and drops, on the frame.")
@click.option("--smooth", type=click.IntRange(1, 255), default=1, help="Frames that a class must hold to be shown.")
@click.option("--show/--no-show", default=None, help="A window; where there is a display, when left out.")
@click.option("--save", "saves", multiple=True, help="FILE.mp4, a folder for images, or ffmpeg:TARGET.")
@click.option("--serve", type=_AddressType(), help="Show it in a browser, at this address; loopback without HOST.")
@click.option("--stats", type=click.Path(dir_okay=False, path_type=Path), help="JSON of what was measured.")
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many frames.")
@click.option("--fps", type=click.FloatRange(0.01, 1000), help="Of saved videos; the source's own when left out.")
@click.option("--pace", is_flag=True, help="Play a file in its own time, as a camera would; late frames are dropped.")
@click.option("--loop", is_flag=True, help="Play a file again and again.")
@click.option("--reconnect", type=click.FloatRange(0), help="Seconds to wait for a lost camera or stream.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="For the keys s and r."
)
@_options.runtime
@_options.foreign
@_options.overwrite
@_options.as_json
def command(
    artifact: str,
    source: str,
    visualize: View,
    alpha: float,
    classes: tuple[str, ...] | None,
    background: str | None,
    legend: bool,
    status: bool,
    smooth: int,
    show: bool | None,
    saves: tuple[str, ...],
    serve: tuple[str, int] | None,
    stats: Path | None,
    max_frames: int | None,
    fps: float | None,
    pace: bool,
    loop: bool,
    reconnect: float | None,
    folder: Path,
    runtime: RuntimeOptions,
    feeding: InputDescription,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Segment a camera with ARTIFACT (.tflite, .onnx or .keras): the newest frame, and how old it is.

    Keys in the window: q or Escape end, space pauses, v next view, s snapshot, r record and stop recording.
    """
    quiet_native_logs()
    from edgeseg._internal.files import refuse_existing, write_bytes
    from edgeseg.camera.display import Display, Look
    from edgeseg.camera.loop import Camera
    from edgeseg.errors import EdgesegError, InputError
    from edgeseg.opening import open_segmenter
    from edgeseg.sinks import MjpegServer, Sink, open_sink
    from edgeseg.sources import open_source

    if stats is not None:
        refuse_existing(stats, overwrite=overwrite)
    if (visualize == "replace") != (background is not None):
        raise InputError("--visualize replace and --background go together.")
    look = Look(
        view=visualize, alpha=alpha, classes=classes, background=_background(background), legend=legend, status=status
    )
    with ExitStack() as stack:
        segmenter = stack.enter_context(open_segmenter(artifact, runtime, feeding))
        look.painter(segmenter.spec)  # a wrong class is said before a camera is opened
        opened = open_source(source, pace=pace, loop=loop, reconnect_s=reconnect)
        camera = stack.enter_context(Camera(segmenter, opened, smooth=smooth))
        sinks: list[Sink] = []
        for save in saves:
            sinks.append(open_sink(save, fps=fps or opened.fps or 25.0, overwrite=overwrite, live=opened.live))
            stack.callback(sinks[-1].close)
        if serve is not None:
            server = MjpegServer(host=serve[0], port=serve[1], stats=camera.stats.live)
            stack.callback(server.close)
            sinks.append(server)
            note(f"watch it at {server.url}")
        window = _window(show)
        if window is None and not sinks and stats is None and not as_json:
            raise InputError("nothing to do: give --show, --save, --serve, --stats or --json.")
        display = Display(
            camera=camera,
            spec=segmenter.spec,
            look=look,
            sinks=sinks,
            window=window,
            max_frames=max_frames,
            folder=folder,
        )
        signal.signal(signal.SIGTERM, lambda number, frame: display.stop())  # how a service is asked to end
        lost: EdgesegError | None = None
        try:
            measured = display.run()
        except EdgesegError as error:
            if isinstance(error, InputError) and not camera.stats.shown:
                raise
            lost, measured = error, camera.stats  # what was measured until then is not thrown away
        result: dict[str, Any] = {"artifact": artifact, "runtime": segmenter.backend.runtime, "source": opened.name}
        result |= {"live": opened.live, "missing_frames": opened.missing_frames, **measured.to_dict()}
    if stats is not None:
        write_bytes(stats, json.dumps(result, indent=2).encode(), overwrite=overwrite)
    if as_json:
        print_json(result)
    live = measured.live()
    note(
        f"{live['frames']} frames, {measured.fps():.1f} fps, inference {live['inference_ms']} ms, "
        f"age {live['age_ms']} ms, {live['dropped']} dropped"
    )
    if lost is not None:
        raise lost


def _window(show: bool | None) -> Window | None:
    """The window; where nobody asked for one and there is no screen, none."""
    from edgeseg.errors import InputError
    from edgeseg.sinks import Window

    if show is False:
        return None
    try:
        return Window("edgeseg")
    except InputError:
        if show:
            raise
        return None


def _background(text: str | None) -> Any:
    """A color as RGB, or an image as BGR; black when nothing is given."""
    from edgeseg.imaging import read_image

    if text is None:
        return (0, 0, 0)
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        color: Color = (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))
        return color
    return read_image(text)[..., ::-1].copy()
