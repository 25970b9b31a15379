"""Draw, caption and output each frame of a camera, to the sinks and the window, and handle the window's keys."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import write_bytes
from edgeseg.camera.loop import Camera, SegmentedFrame
from edgeseg.camera.matte import SteadyMatte
from edgeseg.camera.stats import FEWEST_RATED, CameraStats
from edgeseg.choices import View
from edgeseg.drawing.captions import draw_status
from edgeseg.drawing.legend import LiveLegend
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import Painter
from edgeseg.errors import InputError, SinkLost
from edgeseg.imaging import encode_image
from edgeseg.sinks import MjpegServer, Sink, TimedSink, VideoFile, Window
from edgeseg.sources import Captured, is_still
from edgeseg.spec import ModelSpec

_log = logging.getLogger(__name__)

#: How long one wait for a frame lasts, in seconds, before the window's keys are polled.
_POLL_S = 0.02


@dataclass(kw_only=True)
class Display:
    """Shows what a camera segments, in ten lines of a program or from the command.

    Examples:
        >>> with Segmenter("model.tflite") as segmenter, Camera(segmenter, open_source("0")) as camera:
        ...     stats = Display(camera=camera, spec=segmenter.spec, window=Window("edgeseg")).run()

    Attributes:
        camera: the source of the frames; stays open.
        look: how they are drawn.
        sinks: where drawn frames go; closed at the end, also when the loop fails.
        window: a window with keys; closed at the end.
        on_frame: called with every frame before it is drawn.
        max_frames: stop after this many frames.
        folder: where snapshots and recordings go; when one cannot be written, it is logged and the loop goes on.
    """

    camera: Camera
    spec: ModelSpec
    look: Look = field(default_factory=Look)
    sinks: Sequence[Sink] = ()
    window: Window | None = None
    on_frame: Callable[[SegmentedFrame], None] | None = None
    max_frames: int | None = None
    folder: Path = Path()

    def __post_init__(self) -> None:
        self._use_look()
        self._recorder: VideoFile | None = None
        self._failed: dict[int, SinkLost] = {}
        self._paused = False
        self._stopped = False

    def run(self) -> CameraStats:
        """Run to the end of the source, ``max_frames``, the key ``q``, a closed window, or Ctrl-C.

        Ctrl-C is the usual way to stop a camera, so it is no error: recordings are finished and the statistics are
        returned. An output that fails is logged and ends alone; its error is raised at the end, or at once where it was
        the last.

        Raises:
            SourceLost: the stream broke and did not come back.
            EdgesegError: a sink cannot write.
        """
        with ExitStack() as stack:
            stack.callback(self._close_sinks)
            if self.window is not None:
                stack.callback(self.window.close)
            stack.callback(self._stop_recording)
            with suppress(KeyboardInterrupt):
                self._loop()
            for error in self._failed.values():
                raise error
        return self.camera.stats

    def stop(self) -> None:
        """Make ``run`` end after the current frame; callable from any thread or signal handler."""
        self._stopped = True

    def _loop(self) -> None:
        stats = self.camera.stats
        image: NDArray[np.uint8] | None = None
        while not self._stopped and (self.max_frames is None or stats.shown < self.max_frames):
            if self._paused:
                time.sleep(_POLL_S)
                self._show_again(image)
            else:
                try:
                    frame = self.camera.next(_POLL_S if self.window is not None else 0.5)
                except TimeoutError:
                    pass
                else:
                    if frame is None:
                        break
                    image = self._show(frame)
            self._keys(image)
        if self.window is not None and stats.shown == 1 and not self.camera.source.live:
            while not self._stopped:  # a single image stays until a key is pressed; a video ends with its last frame
                time.sleep(_POLL_S)
                self._keys(image)

    def _show(self, frame: SegmentedFrame) -> NDArray[np.uint8]:
        stats = self.camera.stats
        if self.on_frame is not None:
            self.on_frame(frame)
        with stats.timed("render", frame.captured.index):
            image = self._paint(frame.image_bgr, frame.drawn_map, self._share_of(frame))
            status = draw_status(image, self._status()) if self.look.status else (0, 0)
            if self.look.legend:
                self._legend.draw(image, frame.model_map, keep_off=status)
        with stats.timed("output", frame.captured.index):
            name, time_s = frame.captured.name, self._time_s(frame.captured)
            frame_s = frame.captured.frame_s
            for number, sink in enumerate(self.sinks):
                if number not in self._failed:
                    try:
                        _write(sink, image, name, time_s, frame_s)
                    except SinkLost as error:
                        self._lose(number, error)
            if self._recorder is not None:
                try:
                    _write(self._recorder, image, name, time_s, frame_s)
                except SinkLost as error:
                    _log.warning("the recording ends: %s", error)
                    self._stop_recording()
            if self.window is not None:
                self.window.write(image, frame.captured.name)
        stats.frame_shown(frame.captured.captured_s)
        return image

    def _share_of(self, frame: SegmentedFrame) -> NDArray[np.float32] | None:
        """Return how probable the shown classes are, for soft edges; steadied over time where frames follow another."""
        if frame.score_map is None or not self._paint.soft:
            return None
        share = frame.score_map.share(self._paint.shown)
        return share if is_still(self.camera.source) else self._steady(share)

    def _close_sinks(self) -> None:
        """Close all at the same time: each may take a second or two, and together they take no longer."""
        if self.sinks:
            with ThreadPoolExecutor(len(self.sinks)) as pool:
                closing = [pool.submit(sink.close) for sink in self.sinks]
            for one in closing:
                one.result()

    def _lose(self, number: int, error: SinkLost) -> None:
        """Go on without an output, if there is another one."""
        self._failed[number] = error
        if len(self._failed) == len(self.sinks) and self.window is None:
            raise error
        _log.warning("one output ends, the others go on: %s", error)

    def _time_s(self, captured: Captured) -> float | None:
        """Return when a frame is shown: of a live source when it came, of a file what the file says."""
        return captured.captured_s if self.camera.source.live else captured.time_s

    def _show_again(self, image: NDArray[np.uint8] | None) -> None:
        """Show the image also to a browser that connects during a pause; a video gets no frame twice."""
        for sink in self.sinks:
            if isinstance(sink, MjpegServer) and image is not None and sink.waited_for:
                sink.write(image, "")

    def _use_look(self) -> None:
        self._paint = Painter(self.spec, self.look, order="bgr")
        self._steady = SteadyMatte()
        self._legend = LiveLegend(self.spec, self._paint, order="bgr")

    def _status(self) -> list[str]:
        """Return what was measured so far; an image has no frame rate and no age."""
        source, live = self.camera.source, self.camera.stats.live()
        moving = not is_still(source)
        lines = [
            f"{live['fps']:.1f} fps" if moving and live["frames"] >= FEWEST_RATED else "",
            f"inference {live['inference_ms']:.1f} ms",
            f"age {live['age_ms']:.0f} ms" if moving and live["frames"] else "",
            f"dropped {live['dropped']}" if source.live else "",
            "recording" if self._recorder is not None else "",
        ]
        return [line for line in lines if line]

    def _keys(self, image: NDArray[np.uint8] | None) -> None:
        if self.window is None:
            return
        match self.window.poll():
            case "q" | "escape" | "closed":
                self._stopped = True
            case "space":
                self._paused = not self._paused
            case "v":
                self._next_view()
            case "s" if image is not None:
                self._snapshot(image)
            case "r" if self._recorder is None:
                self._start_recording()
            case "r":
                self._stop_recording()

    def _snapshot(self, image: NDArray[np.uint8]) -> None:
        try:
            write_bytes(_free(self.folder, "snapshot", ".png"), encode_image(np.ascontiguousarray(image[..., ::-1])))
        except (InputError, OSError) as error:
            _log.warning("no snapshot: %s", error)

    def _start_recording(self) -> None:
        source = self.camera.source
        # A camera may claim a rate that the network cannot keep up with; at the measured rate no frame is doubled.
        rate = min(max(self.camera.stats.fps(), 1.0), 60.0) if source.live else source.fps or 25.0
        try:
            self._recorder = VideoFile(_free(self.folder, "recording", ".mp4"), fps=rate, live=source.live)
        except (InputError, OSError) as error:
            _log.warning("no recording: %s", error)

    def _next_view(self) -> None:
        views = get_args(View)
        for _ in views:
            self.look.view = views[(views.index(self.look.view) + 1) % len(views)]
            try:
                self._use_look()
                return
            except InputError:  # a view that needs classes to show, with a model without 'background': try the next one
                continue

    def _stop_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            try:
                recorder.close()
            except (InputError, SinkLost) as error:
                _log.warning("the recording is incomplete: %s", error)


def _write(sink: Sink, image: NDArray[np.uint8], name: str, time_s: float | None, frame_s: float | None) -> None:
    if isinstance(sink, TimedSink):
        sink.write_at(image, name, time_s, frame_s)
    else:
        sink.write(image, name)


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """Return the first of ``stem_001``, ``stem_002`` ... that does not exist."""
    return next(path for n in itertools.count(1) if not (path := folder / f"{stem}_{n:03d}{suffix}").exists())
