"""``edgeseg.sinks``, ``base``, ``backlog``, ``opencv_video`` and ``images``: files, and what breaks on the way."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError, SinkLost
from edgeseg.sinks import FfmpegPipe, ImageFile, ImageFiles, NumberedImages, PushedStream, VideoFile, open_sink
from edgeseg.sinks.backlog import Backlog
from edgeseg.sinks.base import DiskWatch, RealTime, Times
from edgeseg.sinks.opencv_video import CODECS, OpenCvVideo
from edgeseg.video.encode import FORMATS
from edgeseg.video.library import has_av

with_av = pytest.mark.skipif(not has_av(), reason="PyAV is not installed: OpenCV writes the videos")


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra ``video`` is not installed."""
    monkeypatch.setattr("edgeseg.sinks.video_file.has_av", lambda: False)


@with_av
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_suffix_reads_back_with_its_frames_rate_and_colors(tmp_path: Path, suffix: str, scene: Any) -> None:
    path = tmp_path / "new" / f"out{suffix}"
    video = VideoFile(path, fps=12.5)
    for _ in range(20):
        video.write(scene.frame(), "")
        assert path.exists()
    video.close()
    video.close()
    pieces = [] if suffix != ".m3u8" else ["out_00000.ts"]
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, *pieces])
    found = scene.read(path)
    assert len(found) == video.frames_written == 20
    assert found[0].shape == (96, 128, 3)
    scene.assert_in(found[0])
    scene.assert_in(found[-1])
    assert not encoders()


@pytest.mark.usefixtures("without_av")
@pytest.mark.parametrize("suffix", CODECS)
def test_without_av_opencv_writes_and_one_line_says_what(
    tmp_path: Path, suffix: str, scene: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"out{suffix}"
    video = VideoFile(path, fps=12.5)
    for _ in range(5):
        video.write(scene.frame(), "")
        assert not path.exists()
    video.close()
    found = scene.read(path)
    assert len(found) == video.frames_written == 5
    scene.assert_in(found[-1])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (suffix != ".avi")
    assert all("leaves nothing of it" in text and 'pip install "edgeseg[video]"' in text for text in said)


@pytest.mark.usefixtures("without_av")
@pytest.mark.parametrize("name", ["out.gif", "out.m3u8"])
def test_what_only_av_writes_is_refused_without_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackendUnavailable, match=r'pip install "edgeseg\[video\]"'):
        VideoFile(tmp_path / name, fps=10)


def encoders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "edgeseg-encoder"]


def test_frames_of_another_size_are_fitted_with_bars_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scene: Any
) -> None:
    video = VideoFile(tmp_path / "out.avi", fps=10)
    video.write(scene.frame(96, 128), "")
    with caplog.at_level(logging.WARNING):
        video.write(scene.frame(480, 240), "")
        video.write(scene.frame(480, 240), "")
    video.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"frames are now 240x480; '{tmp_path / 'out.avi'}' stays 128x96, with bars."
    ]
    fitted = scene.read(tmp_path / "out.avi")[2]
    assert fitted.shape == (96, 128, 3)
    scene.assert_in(fitted[:, 40:88])  # 240x480 fits as 48x96, in the middle
    assert fitted[:, :36].max() < 30
    assert fitted[:, 92:].max() < 30


def test_an_odd_size_loses_its_last_row_and_column(tmp_path: Path, scene: Any) -> None:
    video = VideoFile(tmp_path / "out.mp4", fps=10)
    video.write(scene.frame(97, 129), "")
    video.close()
    assert scene.read(tmp_path / "out.mp4")[0].shape == (96, 128, 3)


def test_what_cannot_be_written_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"there\.mp4' exists; give `overwrite=True`"):
        VideoFile(tmp_path / "there.mp4", fps=10)
    with pytest.raises(InputError, match=r"'\.wmv' is none of \.mp4, \.mov, \.avi, \.mkv, \.webm, \.gif, \.m3u8"):
        VideoFile(tmp_path / "out.wmv", fps=10)
    for fps in (0.0, float("nan"), -1.0, 1e6):
        with pytest.raises(InputError, match=r"0\.01 to 1000 frames a second"):
            VideoFile(tmp_path / "out.mp4", fps=fps)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        VideoFile(tmp_path / "file" / "out.mp4", fps=10)
    assert (tmp_path / "there.mp4").read_bytes() == b"mine"


def test_without_a_frame_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"mine")
    VideoFile(tmp_path / "there.mp4", fps=10, overwrite=True).close()
    assert (tmp_path / "there.mp4").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


@with_av
@pytest.mark.parametrize(
    ("name", "size_hw", "reason"),
    [
        ("there.mp4", (5, 1), "both sides need two pixels"),
        ("there.mp4", (2, 16386), r"H\.264 has 16384 pixels a side at most; save to \.webm"),
        ("there.webm", (2, 70000), "no encoder takes 70000x2 at 10 frames a second: "),  # found by opening it
    ],
)
def test_what_no_encoder_takes_replaces_nothing(
    tmp_path: Path, name: str, size_hw: tuple[int, int], reason: str
) -> None:
    (tmp_path / name).write_bytes(b"mine")
    video = VideoFile(tmp_path / name, fps=10, overwrite=True)
    with pytest.raises(InputError, match=reason):
        video.write(np.zeros((*size_hw, 3), np.uint8), "")
    video.close()
    assert (tmp_path / name).read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_live_video_plays_as_long_as_its_frames_took() -> None:
    clock = RealTime(10)
    assert [clock.repeats(now_s) for now_s in (5.0, 5.1, 5.12, 5.14, 5.5)] == [1, 1, 0, 0, 4]
    # Ten minutes of pause are one second of video, and then it goes on as before.
    assert clock.repeats(605.5) == 10
    assert [clock.repeats(605.5 + 0.1 * step) for step in (1, 2, 3)] == [1, 1, 1]


def test_times_are_the_sources_and_a_live_pause_is_cut() -> None:
    of_a_file = Times(10, live=False)
    assert [of_a_file.at(time_s) for time_s in (3.0, 3.5, 8.0, 7.0)] == [0.0, 0.5, 5.0, 5.0]
    assert [Times(10, live=False).at(None)] == [0.0]
    unknown = Times(10, live=False)
    assert [unknown.at(None) for _ in range(3)] == [0.0, 0.1, 0.2]
    live = Times(10, live=True)
    assert [live.at(time_s) for time_s in (100.0, 100.5, 700.5, 700.75)] == [0.0, 0.5, 1.5, 1.75]


@with_av
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif"])
def test_a_variable_rate_keeps_its_times_and_duration(tmp_path: Path, suffix: str, scene: Any) -> None:
    times_s = [0.0, 0.04, 0.2, 1.0, 1.5, 3.96]
    video = VideoFile(tmp_path / f"out{suffix}", fps=25)
    for time_s in times_s:
        video.write_at(scene.frame(), "", 60 + time_s, 0.14)  # the last one until 4.1 s
    video.close()
    import av

    with av.open(str(tmp_path / f"out{suffix}")) as container:
        found = [float(frame.time) for frame in container.decode(video=0)]
        # GIF counts in hundredths of a second, Matroska in thousandths.
        assert found == pytest.approx(times_s, abs=0.006)
        assert container.duration / av.time_base == pytest.approx(4.1, abs=0.02)


@with_av
@pytest.mark.parametrize(("height", "width"), [(96, 128), (720, 1280)])
def test_the_matrix_is_the_one_of_the_size_and_said_in_the_tags(
    tmp_path: Path, scene: Any, height: int, width: int
) -> None:
    import av

    for suffix in (".mp4", ".mkv", ".webm"):
        path = tmp_path / f"out{suffix}"
        video = VideoFile(path, fps=25)
        video.write(scene.frame(height, width), "")
        video.close()
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        # ITU-T H.273: 1 is BT.709, 6 is BT.601; 1 is the limited range.
        assert (int(frame.colorspace), int(frame.color_range)) == (1 if height >= 720 else 6, 1)
        scene.assert_in(frame.to_ndarray(format="bgr24"))


@with_av
def test_a_finished_mp4_has_its_index_in_front_and_an_unfinished_one_plays(tmp_path: Path, scene: Any) -> None:
    path = tmp_path / "out.mp4"
    video = VideoFile(path, fps=25)
    for _ in range(30):
        video.write(scene.frame(), "")
    while video.frames_written < 30:
        time.sleep(0.01)
    assert len(scene.read(path)) >= 12  # all but the last half second
    video.close()
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert len(scene.read(path)) == 30


@with_av
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        *((".mp4", name) for name in ("SIGHUP", "SIGTERM", "SIGKILL")),
        *((suffix, "SIGKILL") for suffix in (".mov", ".mkv", ".webm", ".m3u8")),
    ],
)
def test_what_a_killed_process_recorded_plays(tmp_path: Path, scene: Any, suffix: str, name: str) -> None:
    path = tmp_path / f"out{suffix}"
    program = f"""
import signal, time
import numpy as np
from edgeseg.sinks import VideoFile
signal.signal(signal.{name}, signal.SIG_DFL) if {name!r} != "SIGKILL" else None  # a test run may ignore SIGHUP
video = VideoFile({str(path)!r}, fps=50)
for number in range(10**6):
    video.write(np.full((64, 64, 3), 99, np.uint8), "")
    if video.frames_written > 150:
        print("recorded", flush=True)
        time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=60)
    # Three seconds: a playlist has whole pieces of two, a file all but the last half second and what its muxer holds.
    # A player of an unfinished playlist waits for more, so its first piece is read alone.
    assert suffix != ".m3u8" or "out_00000.ts\n" in path.read_text()
    assert len(scene.read(path if suffix != ".m3u8" else tmp_path / "out_00000.ts")) >= 100
    again = VideoFile(path, fps=50, overwrite=True)
    again.write(scene.frame(), "")
    again.close()
    assert len(scene.read(path)) == 1
    assert not list(tmp_path.glob(".*"))


#: Blue is not brighter than this: Chromium's converter (libyuv) holds BT.709's factor for it, 2.11, as 2.
PATCHES_BGR = [(0, 0, 200), (0, 200, 0), (90, 40, 30), (128, 128, 128), (20, 60, 210), (230, 235, 240)]

PLAY = """
window.found = null;
const video = document.createElement("video");
video.muted = true;
video.onerror = () => { window.found = video.error.message };
video.onloadeddata = () => { video.currentTime = AT };
video.onseeked = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const width = canvas.width / 6, middle = [...Array(6).keys()].map((n) => Math.round((n + 0.5) * width));
  const colors = middle.map((x) => [...context.getImageData(x, canvas.height / 2, 1, 1).data].slice(0, 3).reverse());
  window.found = { duration: video.duration, size: [canvas.width, canvas.height], colors };
};
video.src = "data:video/KIND;base64,DATA";
0
"""


def played(browser: Any, path: Path, at_s: float) -> Any:
    """What a browser shows of a video at a time: its duration, its size, and six colors, BGR."""
    data = base64.b64encode(path.read_bytes()).decode()
    kind = "webm" if path.suffix == ".webm" else "mp4"
    program = PLAY.replace("AT", str(at_s), 1).replace("KIND", kind).replace("DATA", data)
    browser.evaluate(f"(() => {{ {program} }})()")
    end = time.monotonic() + 60
    while (found := browser.evaluate("window.found")) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert isinstance(found, dict), found
    return found


@with_av
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
@pytest.mark.parametrize(("height", "width"), [(360, 640), (1080, 1920)])
def test_a_browser_plays_it_in_its_colors_for_as_long_as_the_source(
    tmp_path: Path, browser: Any, suffix: str, height: int, width: int
) -> None:
    image_bgr = np.repeat(np.uint8([PATCHES_BGR]), width // 6 + 1, 1)[:, :width].repeat(height, 0)
    path = tmp_path / f"out{suffix}"
    video = VideoFile(path, fps=25)
    for time_s in (0.0, 0.04, 0.3, 0.9, 0.96):  # of a variable rate: one second in all
        video.write_at(image_bgr, "", time_s)
    video.close()
    found = played(browser, path, 0.5)
    assert found["size"] == [width, height]
    assert found["duration"] == pytest.approx(1.0, abs=0.02)
    # Rounding to 8-bit YUV, the quantizer, and a browser's converter in integers.
    assert np.abs(np.array(found["colors"]) - PATCHES_BGR).max() <= 6


@with_av
def test_a_browser_plays_what_a_killed_process_left(tmp_path: Path, browser: Any, scene: Any) -> None:
    video = VideoFile(tmp_path / "out.mp4", fps=25)
    for _ in range(100):
        video.write(scene.frame(), "")
    while video.frames_written < 100:
        time.sleep(0.01)
    left = tmp_path / "left.mp4"
    left.write_bytes((tmp_path / "out.mp4").read_bytes())  # what is on the disk when a process is killed
    video.close()
    found = played(browser, left, 3.0)
    assert 3.4 <= found["duration"] <= 4.0


class _Slow:
    """An encoder that waits to be let go."""

    def __init__(self) -> None:
        self.go, self.busy, self.added, self.closed = threading.Event(), threading.Event(), 0, False

    def add(self, frame: Any, ticks: int, lasts: int | None) -> bool:
        self.busy.set()
        assert self.go.wait(60)
        self.added += 1
        return True

    def close(self) -> None:
        self.closed = True


class _Frame:
    width = height = 8


def test_an_encoder_that_is_slow_drops_frames_and_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out.mp4").touch()
    slow = _Slow()
    backlog = Backlog(slow, DiskWatch(tmp_path / "out.mp4", "out.mp4"), "out.mp4", live=True)
    backlog.put(_Frame(), 0)
    assert slow.busy.wait(60)
    for ticks in range(1, 101):
        backlog.put(_Frame(), ticks)
    assert backlog.dropped == 98  # one is in the encoder, two wait
    monkeypatch.setattr("edgeseg.sinks.backlog.CLOSING_S", 0.0)
    threading.Timer(0.2, slow.go.set).start()  # after the time that the end gives the ones that wait
    backlog.close()
    assert slow.closed
    assert (slow.added, backlog.done, backlog.dropped) == (1, 1, 100)


def test_ctrl_c_keeps_what_was_recorded(tmp_path: Path, scene: Any) -> None:
    program = f"""
import numpy as np, time
from edgeseg.sinks import VideoFile
video = VideoFile({str(tmp_path / "out.mp4")!r}, fps=30)
try:
    for number in range(10**6):
        video.write(np.full((64, 64, 3), 99, np.uint8), "")
        if number == 20:
            print("recording", flush=True)
        time.sleep(0.002)
finally:
    video.close()
    print(video.frames_written)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "recording\n"
            process.send_signal(signal.SIGINT)
            written = int(process.communicate(timeout=60)[0])
        finally:
            process.kill()  # nothing where it has ended
    assert written > 20
    assert len(scene.read(tmp_path / "out.mp4")) == written


@pytest.fixture(params=[VideoFile, OpenCvVideo])
def make_video(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param  # type: ignore[no-any-return]


def test_a_full_disk_ends_the_recording_and_keeps_it(tmp_path: Path, scene: Any, make_video: Any) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=19m", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        video = make_video(folder / "out.mp4", fps=30)
        with pytest.raises(SinkLost, match=r"the disk of '.*out\.mp4' is full \(16 MiB left"):
            for _ in range(2000):
                video.write(noise, "")
        video.close()
        assert 10 < len(scene.read(folder / "out.mp4")) == video.frames_written < 2000
    finally:
        subprocess.run(["umount", str(folder)], check=True)


LIMITED = """
import resource
import numpy as np
from edgeseg.errors import SinkLost
from edgeseg.sinks import VideoFile
from edgeseg.sinks.opencv_video import OpenCvVideo
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
video = {kind}({path!r}, fps=30)
try:
    for number in range(100):
        video.write(np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8), "")
    video.close()
except SinkLost as error:
    print(error)
try:
    video.close()
except SinkLost as error:
    print("closed", error)
"""


@with_av
@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size to set")
def test_a_file_that_may_not_grow_keeps_what_it_has(tmp_path: Path, scene: Any) -> None:
    program = LIMITED.format(kind="VideoFile", path=str(tmp_path / "out.mkv"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "out.mkv' cannot be written: File too large. What was written until then is in it." in done.stdout
    assert len(scene.read(tmp_path / "out.mkv")) > 1


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size to set")
def test_a_file_of_opencv_that_may_not_grow_is_told_when_it_is_closed(tmp_path: Path) -> None:
    program = LIMITED.format(kind="OpenCvVideo", path=str(tmp_path / "out.mp4"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "out.mp4' could not be written: what reached the disk is no video" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path, scene: Any, make_video: Any) -> None:
    video = make_video(tmp_path / "gone" / "out.mp4", fps=10)
    video.write(scene.frame(), "")
    while not video.frames_written:  # it would be made again
        time.sleep(0.01)
    for file in (tmp_path / "gone").iterdir():
        file.unlink()
    with pytest.raises(SinkLost, match=r"out\.mp4' cannot be written any more: No such file"):
        for _ in range(1000):
            video.write(scene.frame(), "")
    with contextlib.suppress(SinkLost):
        video.close()
    assert not encoders()


def test_images_have_their_frames_names(tmp_path: Path, scene: Any) -> None:
    images = ImageFiles(tmp_path / "out", suffix=".png")
    for index in range(3):
        images.write(scene.frame(), f"clip_{index:06d}")
    images.close()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [f"clip_{i:06d}.png" for i in range(3)]
    assert (scene.read(tmp_path / "out" / "clip_000001.png")[0] == scene.frame()).all()
    with pytest.raises(InputError, match=r"clip_000001\.png' exists"):
        images.write(scene.frame(), "clip_000001")
    lost = ImageFiles(tmp_path / "lost")
    (tmp_path / "lost").touch()
    with pytest.raises(SinkLost, match="lost' cannot be written: "):
        lost.write(scene.frame(), "clip_000001")
    with pytest.raises(InputError, match=r"written as '\.mp3'"):
        ImageFiles(tmp_path, suffix=".mp3")
    ImageFiles(tmp_path / "out", suffix=".png", overwrite=True).write(scene.frame(8, 8), "clip_000001")


def test_numbered_images_have_the_names_that_were_asked_for(tmp_path: Path, scene: Any) -> None:
    images = open_sink(f"{tmp_path}/new/a%_%03d.png", fps=10)
    assert isinstance(images, NumberedImages)
    for _ in range(3):
        images.write(scene.frame(), "any")
    images.close()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"a%_{number:03d}.png" for number in (1, 2, 3)
    ]
    assert (scene.read(tmp_path / "new" / "a%_002.png")[0] == scene.frame()).all()
    with pytest.raises(InputError, match=r"a%_001\.png' exists"):
        NumberedImages(tmp_path / "new" / "a%_%03d.png")
    with pytest.raises(InputError, match=r"needs one number in its name, such as name_%04d\.png"):
        NumberedImages(tmp_path / "a_%d_%d.png")


def test_a_folder_of_pngs_has_the_frames_names(tmp_path: Path, scene: Any) -> None:
    images = open_sink(f"{tmp_path}/new/*.png", fps=10)
    images.write(scene.frame(), "clip_000001")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["clip_000001.png"]


def test_an_image_file_takes_one_frame(tmp_path: Path, scene: Any) -> None:
    image = ImageFile(tmp_path / "new" / "out.png")
    image.write(scene.frame(), "any")
    with pytest.raises(InputError, match="is one image, and there are several frames"):
        image.write(scene.frame(), "any")
    image.close()
    assert (scene.read(tmp_path / "new" / "out.png")[0] == scene.frame()).all()
    with pytest.raises(InputError, match="exists"):
        ImageFile(tmp_path / "new" / "out.png")


def test_what_was_typed_chooses_the_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ffmpeg_folder: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(ffmpeg_folder))
    (tmp_path / "old.d").mkdir()
    for text, kind in (
        ("a.MP4", VideoFile),
        ("a.webm", VideoFile),
        ("a.jpg", ImageFile),
        ("frames/", ImageFiles),
        ("v1.2/", ImageFiles),
        ("old.d", ImageFiles),
        ("ffmpeg:a.mp4", VideoFile if has_av() else FfmpegPipe),
        ("ffmpeg:a.ts", FfmpegPipe),
        ("ffmpeg:udp://127.0.0.1:9", PushedStream),
        ("rtmp://127.0.0.1/live/key", PushedStream),
    ):
        sink = open_sink(text, fps=10)
        assert type(sink) is kind
        sink.close()
    for text in ("a.mp5", "", "a.wmv"):
        with pytest.raises(InputError, match=r"accepted: a video file \(\.mp4"):
            open_sink(text, fps=10)
    with pytest.raises(InputError, match=r"Did you mean '\.mp4'"):
        open_sink("a.mp5", fps=10)


@pytest.mark.parametrize("fps", [29.97003, 134.554321, 601.16944])
def test_a_measured_rate_can_be_written(tmp_path: Path, scene: Any, fps: float) -> None:
    video = VideoFile(tmp_path / "out.mp4", fps=fps)
    for _ in range(3):
        video.write(scene.frame(), "frame")
    video.close()
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3)
