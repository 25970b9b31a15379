"""``display``: views, keys, recordings and snapshots of what a camera segments."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.camera import Camera, SegmentedFrame
from edgeseg.camera.display import Display
from edgeseg.drawing.captions import draw_status
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import drawing_table
from edgeseg.errors import InputError, SinkLost
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.sinks import MjpegServer, VideoFile
from edgeseg.sources import Captured, Source, open_source
from edgeseg.spec import ModelSpec


class _Kept:
    """A sink that keeps copies."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.frames: list[NDArray[np.uint8]] = []
        self.names: list[str] = []
        self.closed = 0
        self._fails_at = fails_at

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        if len(self.frames) == self._fails_at:
            raise SinkLost("the disk is full.")
        self.frames.append(image_bgr.copy())
        self.names.append(name)

    def close(self) -> None:
        self.closed += 1


class _Keys:
    """A window without a screen: says the keys of a script, one a poll, counted in frames shown."""

    def __init__(self, script: dict[int, list[str]]) -> None:
        self.frames: list[NDArray[np.uint8]] = []
        self._script = script
        self.closed = False

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        self.frames.append(image_bgr.copy())

    def poll(self) -> str | None:
        waiting = self._script.get(len(self.frames))
        return waiting.pop(0) if waiting else None

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def segmenter(tiny_spec: ModelSpec) -> Segmenter:
    """Says ``disc`` (2) everywhere."""
    answer = np.full((1, *tiny_spec.input_size), 2, np.uint8)
    return Segmenter(NullBackend(tiny_spec.replace(output_kind="argmax"), answer))


@pytest.fixture
def disc_bgr(tiny_spec: ModelSpec) -> list[int]:
    """The color of ``disc`` in an overlay."""
    return drawing_table(tiny_spec)[2, ::-1].tolist()  # type: ignore[no-any-return]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Callable[[int], Source]]:
    """Opens a folder of so many gray images, the first 0, the next 10, and so on."""

    def make(count: int) -> Source:
        folder = tmp_path / "images"
        folder.mkdir()
        for index in range(count):
            cv2.imwrite(str(folder / f"{index:03d}.png"), np.full((64, 96, 3), 10 * index, np.uint8))
        return open_source(str(folder))

    yield make


def test_frames_are_drawn_and_reach_every_sink(
    segmenter: Segmenter, images: Callable[[int], Source], disc_bgr: list[int]
) -> None:
    sinks = [_Kept(), _Kept()]
    with Camera(segmenter, images(5)) as camera:
        stats = Display(camera=camera, spec=segmenter.spec, look=Look(alpha=1.0), sinks=sinks).run()
    for sink in sinks:
        assert sink.names == ["000", "001", "002", "003", "004"]
        assert all((frame == disc_bgr).all() for frame in sink.frames)
        assert sink.closed == 1
    assert stats.shown == 5
    assert stats.to_dict()["stages_ms"]["output"]["count"] == 5


def test_the_callback_sees_the_frame_before_it_is_drawn(segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    seen: list[int] = []

    def look_at(frame: SegmentedFrame) -> None:
        seen.append(int(frame.image_bgr.max()))
        assert frame.segmentation.counts() == {"background": 0, "square": 0, "disc": 64 * 96}

    with Camera(segmenter, images(3)) as camera:
        Display(camera=camera, spec=segmenter.spec, look=Look(alpha=1.0), on_frame=look_at).run()
    assert seen == [0, 10, 20]


def test_captions_are_drawn_where_they_are_asked_for(
    segmenter: Segmenter, images: Callable[[int], Source], disc_bgr: list[int]
) -> None:
    name = images(1).name
    plain, told = _Kept(), _Kept()
    for sink, look in ((plain, Look(alpha=1.0)), (told, Look(alpha=1.0, legend=True, status=True))):
        with Camera(segmenter, open_source(name)) as camera:
            Display(camera=camera, spec=segmenter.spec, look=look, sinks=[sink]).run()
    assert (plain.frames[0] == disc_bgr).all()
    assert (told.frames[0][:20] != plain.frames[0][:20]).any()


def test_the_status_says_what_was_measured_and_a_still_image_has_no_rate(
    segmenter: Segmenter, images: Callable[[int], Source], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[list[str]] = []

    def keep(image: NDArray[np.uint8], lines: list[str]) -> tuple[int, int]:
        said.append([line.split()[-1] if "fps" in line else line.split()[0] for line in lines])
        return draw_status(image, lines)

    monkeypatch.setattr("edgeseg.camera.display.draw_status", keep)
    video = VideoFile(tmp_path / "v.mp4", fps=25.0)
    for _ in range(12):
        video.write(np.zeros((64, 96, 3), np.uint8), "")
    video.close()
    for source in (images(3), open_source(str(tmp_path / "v.mp4"))):
        with Camera(segmenter, source) as camera:
            Display(camera=camera, spec=segmenter.spec, look=Look(status=True)).run()
    # Three images, then a video: no age before the first frame is shown, no rate of fewer than ten.
    assert said == [["inference"]] * 4 + [["inference", "age"]] * 9 + [["fps", "inference", "age"]] * 2


def test_it_stops_after_so_many_frames_and_by_stop(segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    source = images(9)
    with Camera(segmenter, source) as camera:
        assert Display(camera=camera, spec=segmenter.spec, max_frames=4).run().shown == 4
    with Camera(segmenter, open_source(source.name, loop=True)) as camera:
        display = Display(camera=camera, spec=segmenter.spec)
        threading.Timer(0.2, display.stop).start()
        assert display.run().shown > 0


def test_ctrl_c_ends_it_and_the_sinks_are_closed(segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    def interrupt(frame: SegmentedFrame) -> None:
        if frame.captured.index == 2:
            raise KeyboardInterrupt

    sink = _Kept()
    with Camera(segmenter, images(9)) as camera:
        stats = Display(camera=camera, spec=segmenter.spec, sinks=[sink], on_frame=interrupt).run()
    assert (stats.shown, sink.closed) == (2, 1)


def test_a_sink_that_breaks_ends_it_and_all_are_closed(segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    broken, other = _Kept(fails_at=2), _Kept()
    with Camera(segmenter, images(9)) as camera, pytest.raises(SinkLost, match="the disk is full"):
        Display(camera=camera, spec=segmenter.spec, sinks=[broken, other]).run()
    assert (broken.closed, other.closed) == (1, 1)
    assert not [t for t in threading.enumerate() if t.name.startswith("edgeseg-")]


def test_the_keys(segmenter: Segmenter, images: Callable[[int], Source], tmp_path: Path, disc_bgr: list[int]) -> None:
    source = images(1)
    keys = {
        2: ["s"],
        3: ["r"],
        6: ["r"],
        7: ["v"],
        9: ["space", "x", "space"],
        12: ["q"],
    }
    window = _Keys(keys)
    with Camera(segmenter, open_source(source.name, loop=True)) as camera:
        stats = Display(
            camera=camera,
            spec=segmenter.spec,
            look=Look(alpha=1.0),
            window=window,  # type: ignore[arg-type]
            folder=tmp_path,
        ).run()
    assert stats.shown == 12
    assert window.closed
    snapshot = cv2.imread(str(tmp_path / "snapshot_001.png"))
    assert (snapshot == disc_bgr).all()
    recording = cv2.VideoCapture(str(tmp_path / "recording_001.mp4"))
    frames = 0
    while recording.grab():
        frames += 1
    assert frames == 3  # the fourth, fifth and sixth frame


def test_keys_for_a_folder_that_cannot_be_written_do_not_end_it(
    segmenter: Segmenter, images: Callable[[int], Source], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    window = _Keys({1: ["s"], 2: ["r"]})
    with Camera(segmenter, images(4)) as camera:
        display = Display(camera=camera, spec=segmenter.spec, window=window, folder=tmp_path / "file")  # type: ignore[arg-type]
        assert display.run().shown == 4
    assert [message.split(":")[0] for message in caplog.messages] == ["no snapshot", "no recording"]


def test_a_recording_that_breaks_is_logged_and_the_loop_goes_on(
    segmenter: Segmenter,
    images: Callable[[int], Source],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("edgeseg.camera.display.VideoFile", lambda path, **options: _Kept(fails_at=1))
    with Camera(segmenter, images(4)) as camera:
        display = Display(camera=camera, spec=segmenter.spec, window=_Keys({1: ["r"]}), folder=tmp_path)  # type: ignore[arg-type]
        assert display.run().shown == 4
    assert caplog.messages == ["the recording ends: the disk is full."]


def test_outputs_fail_alone_and_the_error_comes_at_the_end(
    segmenter: Segmenter, images: Callable[[int], Source], caplog: pytest.LogCaptureFixture
) -> None:
    broken, good = _Kept(fails_at=1), _Kept()
    with Camera(segmenter, images(4)) as camera:
        with pytest.raises(SinkLost, match="the disk is full"):
            Display(camera=camera, spec=segmenter.spec, sinks=[broken, good]).run()
        assert camera.stats.shown == 4
    assert (len(broken.frames), len(good.frames)) == (1, 4)
    assert (broken.closed, good.closed) == (1, 1)
    assert caplog.messages == ["one output ends, the others go on: the disk is full."]


def test_the_last_output_that_fails_ends_the_loop(segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    broken = _Kept(fails_at=1)
    with Camera(segmenter, images(4)) as camera:
        with pytest.raises(SinkLost, match="the disk is full"):
            Display(camera=camera, spec=segmenter.spec, sinks=[broken]).run()
        assert camera.stats.shown == 1


class _Timed(_Kept):
    """Keeps when frames are shown too."""

    def __init__(self) -> None:
        super().__init__()
        self.times_s: list[float | None] = []

    def write_at(
        self, image_bgr: NDArray[np.uint8], name: str, time_s: float | None, frame_s: float | None = None
    ) -> None:
        self.write(image_bgr, name)
        self.times_s.append(time_s)


def test_a_sink_that_keeps_times_gets_those_of_the_capture(
    segmenter: Segmenter, images: Callable[[int], Source]
) -> None:
    source = images(2)
    timed = _Timed()
    with Camera(segmenter, source) as camera:
        Display(camera=camera, spec=segmenter.spec, sinks=[timed]).run()
    assert timed.times_s == [None, None]  # images have no time
    source = open_source(source.name)
    source.live = True
    timed = _Timed()
    captured: list[float] = []
    with Camera(segmenter, source) as camera:
        Display(
            camera=camera,
            spec=segmenter.spec,
            sinks=[timed],
            on_frame=lambda frame: captured.append(frame.captured.captured_s),
        ).run()
    assert timed.times_s == captured


def test_v_goes_through_the_views_that_work(
    segmenter: Segmenter, tiny_spec: ModelSpec, images: Callable[[int], Source]
) -> None:
    spec = tiny_spec.replace(class_names=("sky", "road", "car"), output_kind="argmax")
    source = images(1)
    for used, expected in ((segmenter.spec, "cutout"), (spec, "overlay")):
        look = Look()
        window = _Keys({1: ["v"], 2: ["v"], 3: ["closed"]})
        with Camera(segmenter, open_source(source.name, loop=True)) as camera:
            Display(camera=camera, spec=used, look=look, window=window).run()  # type: ignore[arg-type]
        # overlay, mask, and then a cut-out, which needs a class 'background' or --classes; else it starts again
        assert look.view == expected


def test_a_single_image_stays_until_a_key(segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    window = _Keys({})
    poll = window.poll
    calls = []

    def count() -> str | None:
        calls.append(time.perf_counter())
        return "q" if len(calls) == 10 else poll()

    window.poll = count  # type: ignore[method-assign]
    with Camera(segmenter, images(1)) as camera:
        Display(camera=camera, spec=segmenter.spec, window=window).run()  # type: ignore[arg-type]
    assert len(calls) == 10


def test_a_class_the_model_lacks_is_refused_at_once(segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    with Camera(segmenter, images(1)) as camera, pytest.raises(InputError, match="unknown class 'dog'"):
        Display(camera=camera, spec=segmenter.spec, look=Look(classes=["dog"]))


def test_a_browser_that_comes_during_a_pause_sees_the_frame(
    segmenter: Segmenter, images: Callable[[int], Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = _Keys({1: ["space"]})
    with contextlib.closing(MjpegServer(port=0)) as server, Camera(segmenter, images(3)) as camera:
        display = Display(camera=camera, spec=segmenter.spec, sinks=[server], window=window)  # type: ignore[arg-type]
        loop = threading.Thread(target=display.run)
        loop.start()
        while not window.frames:
            time.sleep(0.01)
        written = []
        write = server.write
        monkeypatch.setattr(server, "write", lambda image, name: (written.append(name), write(image, name)))
        try:
            snapshot = urllib.request.urlopen(f"{server.url}snapshot.jpg", timeout=10).read()
            with server.watching() as next_jpeg:
                assert next_jpeg(10.0) is not None
                assert next_jpeg(0.2) is None  # the same frame is not encoded again and again
            assert len(written) == 2
        finally:
            display.stop()
            loop.join()
    assert len(window.frames) == 1
    assert cv2.imdecode(np.frombuffer(snapshot, np.uint8), cv2.IMREAD_COLOR).shape == (64, 96, 3)


class _Flicker:
    """A video in memory of one gray frame again and again."""

    name, live, fps, missing_frames = "memory", False, 25.0, 0

    def __init__(self, count: int, fps: float | None) -> None:
        self.fps, self._left, self._count = fps, count, count

    def read(self) -> Captured | None:
        if not self._left:
            return None
        self._left -= 1
        index = self._count - self._left - 1
        image = np.full((64, 96, 3), 100, np.uint8)
        return Captured(index=index, name=f"{index}", image_bgr=image, captured_s=time.perf_counter())

    def close(self) -> None: ...


class _Changing(NullBackend):
    """Gives one output after the other."""

    def __init__(self, spec: ModelSpec, outputs: NDArray[np.float32]) -> None:
        super().__init__(spec, outputs[0])
        self._outputs = iter(outputs)

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        return next(self._outputs)


@pytest.mark.parametrize("smooth", [1, 2])
@pytest.mark.parametrize("fps", [25.0, None], ids=["video", "stills"])
def test_soft_edges_are_steady_in_a_video_and_alone_in_an_image(
    tiny_spec: ModelSpec, fps: float | None, smooth: int
) -> None:
    """Scores of 0.5 and 0.55 in turn: a video shows a step between them, images each their own; held classes none."""
    spec = tiny_spec.replace(output_kind="softmax")
    shares = np.float32([0.5, 0.55, 0.5])
    outputs = np.zeros((3, 1, *spec.input_size, 3), np.float32)
    outputs[..., 1] = shares[:, None, None, None]
    outputs[..., 0] = 1 - outputs[..., 1]
    kept = _Kept()
    with Camera(Segmenter(_Changing(spec, outputs)), _Flicker(3, fps), smooth=smooth) as camera:
        look = Look(view="replace", background=(0, 0, 0), classes=["square"])
        Display(camera=camera, spec=spec, look=look, sinks=[kept]).run()
    shown = [frame[32, 48, 0] for frame in kept.frames]
    if smooth == 2:
        assert shown == [0, 0, 0]  # background, then square for one frame
    elif fps is None:
        assert 0 < shown[0] == shown[2] < shown[1] < 100
    else:
        assert 0 < shown[0] < shown[2] < shown[1]
        assert shown[1] - shown[0] < 0.5 * 8  # of the 8 levels between the images' own
