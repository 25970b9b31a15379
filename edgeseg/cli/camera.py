"""Segment a camera, stream, video or images live, and show how old each frame is (``edgeseg camera``)."""

from __future__ import annotations

import json
import re
import signal
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg._internal.text import counted, masked
from edgeseg.choices import CameraFormat
from edgeseg.cli import _artifacts, _completion, _options, _records
from edgeseg.cli._fields import collect, default_of, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, progress_of_steps, quiet_native_logs
from edgeseg.drawing.look import Look
from edgeseg.errors import EdgesegError, InputError
from edgeseg.spec import Color

if TYPE_CHECKING:
    from edgeseg._internal.progress import StepProgress
    from edgeseg.camera.loop import SegmentedFrame
    from edgeseg.cli._options import Results
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions
    from edgeseg.sinks import Sink, Window
    from edgeseg.sources import Source
    from edgeseg.sources.extent import Extent


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


class _ResolutionType(click.ParamType[tuple[int, int]]):
    """``1280x720``: width and height in pixels, as cameras name them."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(value), re.ASCII)
        if match is None:
            self.fail(f"'{value}' is no size of a camera; accepted: width and height as 1280x720.", param, ctx)
        return int(match[1]), int(match[2])


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Source": (
            "source",
            "camera_size",
            "camera_fps",
            "camera_format",
            "pace",
            "loop",
            "live",
            "reconnect",
        ),
        "Drawing": ("view", *_options.LOOK, "background", "legend", "status", "smooth"),
        "Output": (
            "show",
            "saves",
            "fps",
            "audio",
            "serve",
            "folder",
            "stats",
            "trace",
            "save_counts",
            "region",
            "max_frames",
            *_options.RESULTS,
        ),
        "Runtime": _options.RUNTIME,
        "Model without spec": _options.MODEL_DESCRIPTION,
    }


@dataclass(frozen=True, kw_only=True)
class _Stream:
    """Where the frames come from."""

    source: str
    camera_size: tuple[int, int] | None
    camera_fps: float | None
    camera_format: CameraFormat | None
    pace: bool
    loop: bool
    live: bool | None
    reconnect: float | None

    def open(self) -> Source:
        from edgeseg.sources import CameraSettings, open_source

        return open_source(
            self.source,
            pace=self.pace,
            loop=self.loop,
            live=self.live,
            reconnect_s=self.reconnect,
            camera=CameraSettings(size_wh=self.camera_size, fps=self.camera_fps, format=self.camera_format),
        )

    def sound(self) -> str | None:
        """Return the file whose sound may go with the frames: they are its own, from its beginning on."""
        from edgeseg.video.address import local_path

        path = local_path(self.source)
        return path if Path(path).is_file() and not self.loop else None

    def extent(self) -> Extent:
        """Return what files will deliver, before anything is opened; of a live source nothing is known."""
        from edgeseg.sources.extent import Extent, extent
        from edgeseg.sources.opening import names_files

        if not names_files(self.source):
            return Extent(still=False, num_frames=0, fps=None)
        known = extent([self.source])
        return replace(known, still=False, num_frames=0) if self.loop else known


@dataclass(frozen=True, kw_only=True)
class _Output:
    """Where drawn frames and measurements go, and when to stop."""

    show: bool | None
    saves: tuple[str, ...]
    fps: float | None
    audio: bool
    serve: tuple[str, int] | None
    folder: Path
    stats: Path | None
    trace: Path | None
    save_counts: Path | None
    region: Path | None
    max_frames: int | None

    def require_places(self, extent: Extent, *, overwrite: bool) -> None:
        """Refuse what cannot be written, or does not fit the source, before a model is opened."""
        from edgeseg._internal.files import refuse_existing, require_writable_folder
        from edgeseg.sinks.targets import require_place

        for place in filter(None, (self.stats, self.trace, self.save_counts)):
            refuse_existing(place, overwrite=overwrite)
            require_writable_folder(place.parent)
        if self.region is not None and self.save_counts is None:
            raise InputError("--region counts in its polygons: give --save-counts FILE.csv with it.")
        if self.region is not None:
            from edgeseg.counting.regions import Regions

            Regions.read(self.region)
        one_frame = bool(extent.still) or self.max_frames == 1
        for save in self.saves:
            require_place(save, still=bool(extent.still), one_frame=one_frame, overwrite=overwrite)


class _Count:
    """Shows how many frames are done, also where nothing says how many there will be; counts classes if asked."""

    def __init__(self, update: StepProgress, total: int, counts: _records.LiveCounts | None) -> None:
        self._update, self._total, self._done = update, total, 0
        self._counts = counts

    def __call__(self, frame: SegmentedFrame) -> None:
        self._done += 1
        if self._counts is not None:
            self._counts.add(frame)
        step = "segmenting" if self._total else f"segmenting, {counted(self._done, 'frame')} done"
        self._update(step, self._done, self._total)


def _look(*, background: str | None, **look: Any) -> Look:
    if (look["view"] == "replace") != (background is not None):
        raise InputError("--visualize replace and --background go together.")
    _options.require_soft_view(look["matte"], [look["view"]])
    color = default_of(Look, "background") if background is None else _background(background)
    return Look(background=color, **look)


_DETAILS = f"""\
{_artifacts.HELP} With a live source only the newest frame is processed, and its age is shown.

Animated images (GIF, APNG, WebP) are videos, and transparency is dropped. The sound of a file is saved with it; a
live source, --pace and --loop have none. Frames of a live source that come too fast are dropped and counted.

Keys in the window: q or Escape quits, space pauses, v is the next view, s a snapshot, r starts and stops a recording.
"""


@click.command("camera", cls=_Command, help=help_of("camera", _DETAILS))
@click.argument("artifact", required=False, shell_complete=_completion.artifacts)
@collect(
    "stream",
    _Stream,
    click.option(
        "--source",
        default="0",
        show_default=True,
        help="Camera index or device, csi:, picamera:, gst:PIPELINE, file, folder, pattern, URL, or -.",
    ),
    click.option("--camera-size", type=_ResolutionType(), help="Frame size of a camera.", show_default="its own"),
    click.option(
        "--camera-fps", type=click.FloatRange(0.1, 1000), help="Frame rate of a camera.", show_default="its own"
    ),
    click.option(
        "--camera-format",
        type=click.Choice(get_args(CameraFormat)),
        help="How a webcam delivers frames; many need mjpeg for 30 a second of 1280x720.",
        show_default="its own",
    ),
    click.option("--pace", is_flag=True, help="Play a file in real time, like a camera; late frames are dropped."),
    click.option("--loop", is_flag=True, help="Play a file again and again."),
    click.option(
        "--live/--no-live",
        default=None,
        help="Use only the newest frame of a URL, or every frame.",
        show_default="as the video says: a duration is not live",
    ),
    click.option("--reconnect", type=click.FloatRange(0), help="Seconds to wait for a lost camera or stream."),
)
@collect(
    "look",
    _look,
    option(Look, "view", flag="--visualize", help="What to draw."),
    _options.alpha,
    _options.shown_classes,
    _options.except_classes,
    _options.paint_background,
    _options.matte,
    _options.anonymize,
    click.option("--background", help="For --visualize replace: an image, or a color as '#00b140'."),
    # The command shows them by default; a program, which draws into its own frames, asks for them.
    option(Look, "legend", default=True, help="Name and share of each class, on the frame."),
    option(Look, "status", default=True, help="fps, inference time, age and drops, on the frame."),
)
@click.option(
    "--smooth",
    type=click.IntRange(1, 255),
    default=1,
    show_default=True,
    help="Frames that a class must hold to be shown.",
)
@collect(
    "output",
    _Output,
    click.option("--show/--no-show", default=None, help="Show a window.", show_default="where there is a display"),
    click.option(
        "--save",
        "saves",
        multiple=True,
        metavar="TARGET",
        help="FILE.mp4, .mkv, .webm, .gif or .m3u8, a folder for images, FILE.png of one image, a URL, or "
        "camera: for a virtual camera; repeatable.",
    ),
    click.option(
        "--fps", type=click.FloatRange(0.01, 1000), help="Frame rate of saved videos.", show_default="the source's own"
    ),
    click.option(
        "--audio/--no-audio", default=True, show_default=True, help="Copy the sound of a file into a saved video."
    ),
    click.option("--serve", type=_AddressType(), help="Show it in a browser, at this address; loopback without HOST."),
    click.option(
        "--folder",
        type=_options.FOLDER,
        default=Path(),
        show_default=True,
        help="Folder for snapshots and recordings by the keys s and r.",
    ),
    click.option("--stats", type=_options.FILE, help="JSON file for the measurements."),
    click.option("--trace", type=_options.FILE, help="JSON file for when each stage ran; ui.perfetto.dev shows it."),
    _records.save_counts,
    _records.region,
    click.option("--max-frames", type=click.IntRange(1), help="Stop after so many frames."),
)
@_options.runtime
@_options.model_description
@_options.results
def command(
    artifact: str | None,
    stream: _Stream,
    look: Look,
    smooth: int,
    output: _Output,
    runtime: RuntimeOptions,
    description: InputDescription,
    results: Results,
) -> None:
    """Run ``edgeseg camera``."""
    quiet_native_logs()
    from edgeseg._internal.files import write_text
    from edgeseg.camera.display import Display
    from edgeseg.camera.loop import Camera
    from edgeseg.camera.stats import FEWEST_RATED
    from edgeseg.camera.trace import Trace
    from edgeseg.drawing.painter import Painter
    from edgeseg.opening import open_segmenter
    from edgeseg.sinks import MjpegServer, PushedStream, open_sink
    from edgeseg.sources import is_still

    if look.matte and smooth > 1:
        raise InputError("--matte draws what the newest scores say, --smooth holds classes: give one of them.")
    extent = stream.extent()
    output.require_places(extent, overwrite=results.overwrite)
    artifact = _artifacts.artifact_or_default(artifact, of_people=True)
    with ExitStack() as stack:
        update = stack.enter_context(progress_of_steps(f"opening {artifact}"))
        segmenter = stack.enter_context(open_segmenter(artifact, runtime, description))
        Painter(segmenter.spec, look)  # a wrong class is reported before a camera is opened
        if segmenter.gives_scores and look.matte is None and smooth > 1 and look.view in ("blur", "replace"):
            note(f"--smooth holds classes, so the edges of {look.view} are hard; omit it for soft ones")
        update(f"opening {masked(stream.source)}", 0, 0)
        opened = stream.open()
        trace = None
        if output.trace is not None:
            trace = stack.enter_context(Trace(output.trace, overwrite=results.overwrite))
        counts = None
        if output.save_counts is not None:
            table = _records.LiveCounts(output.save_counts, output.region, segmenter.spec, overwrite=results.overwrite)
            counts = stack.enter_context(table)
        camera = stack.enter_context(Camera(segmenter, opened, smooth=smooth, trace=trace))
        sinks: list[Sink] = []
        sound = stream.sound() if output.audio else None
        for save in output.saves:
            fps = output.fps or opened.fps or 25.0
            sinks.append(open_sink(save, fps=fps, overwrite=results.overwrite, live=opened.live, sound=sound))
            stack.callback(sinks[-1].close)
        if output.serve is not None:
            host, port = output.serve
            server = MjpegServer(host=host, port=port, stats=camera.stats.live)
            stack.callback(server.close)
            sinks.append(server)
            note(f"watch it at {server.url}")
        window = _window(output.show)
        measures = any((output.stats, output.trace, output.save_counts, results.as_json))
        if window is None and not sinks and not measures:
            raise InputError("nothing to do: give --show, --save, --serve, --stats, --trace, --save-counts or --json.")
        display = Display(
            camera=camera,
            spec=segmenter.spec,
            look=look,
            sinks=sinks,
            window=window,
            on_frame=_Count(update, min(extent.num_frames, output.max_frames or extent.num_frames), counts),
            max_frames=output.max_frames,
            folder=output.folder,
        )
        for name in ("SIGTERM", "SIGHUP"):  # how a service is asked to end, and a closed terminal
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, lambda number, frame: display.stop())
        lost: EdgesegError | None = None
        try:
            measured = display.run()
        except EdgesegError as error:
            if isinstance(error, InputError) and not camera.stats.shown:
                raise
            lost, measured = error, camera.stats  # what was measured until then is kept
        result: dict[str, Any] = {"artifact": artifact, "runtime": segmenter.backend.runtime, "source": opened.name}
        result |= {"live": opened.live, "missing_frames": opened.missing_frames, **measured.to_dict()}
        outputs = list(zip(output.saves, sinks, strict=False))  # the page comes after them
        unreached = {save for save, sink in outputs if isinstance(sink, PushedStream) and not sink.connected}
        result["outputs"] = [_written(save, sink) for save, sink in outputs]
    if output.stats is not None:
        write_text(output.stats, json.dumps(result, indent=2), overwrite=results.overwrite)
    if results.as_json:
        print_json(result)
    live = measured.live()
    moving = not is_still(opened)
    rate = f"{measured.fps():.1f} fps, " if moving and live["frames"] >= FEWEST_RATED else ""
    age = f"age {live['age_ms']} ms, " if moving and live["frames"] else ""
    saves = [*output.saves, *map(str, filter(None, [output.trace, output.save_counts]))]
    written = [save for save in saves if _there(save) and save not in unreached]  # no frame, no file
    saved = f"; saved: {', '.join(masked(save, stream_key='://' in save) for save in written)}" if written else ""
    frames = counted(live["frames"], "frame")
    note(f"{frames}, {rate}inference {live['inference_ms']} ms, {age}{live['dropped']} dropped{saved}")
    if lost is not None:
        raise lost


def _there(save: str) -> bool:
    path = Path(save)
    return (
        save.startswith(("ffmpeg:", "camera:"))
        or "://" in save
        or path.exists()
        or (bool(set(path.name) & set("%*")) and path.parent.is_dir())
    )


def _written(save: str, sink: Sink) -> dict[str, Any]:
    """Return what an output has, for JSON: the encoder, and the frames that it was too slow or too far away for."""
    from edgeseg.sinks import PushedStream, VideoFile

    target = {"target": masked(save, stream_key="://" in save)}
    match sink:
        case VideoFile():
            return target | {"encoder": sink.encoder, "frames": sink.frames_written, "dropped": sink.dropped}
        case PushedStream():
            return target | {"connected": sink.connected, "frames": sink.sent, "dropped": sink.dropped}
    return target


def _window(show: bool | None) -> Window | None:
    """Open the window; none where the user did not ask for one and there is no screen."""
    from edgeseg.sinks import Window

    if show is False:
        return None
    try:
        return Window("edgeseg")
    except InputError:
        if show:
            raise
        return None


def _background(text: str) -> Any:
    """Return a color as RGB, or an image as BGR."""
    from edgeseg.imaging import read_image

    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        color: Color = (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))
        return color
    return read_image(text)[..., ::-1].copy()
