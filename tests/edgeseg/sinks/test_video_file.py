"""``edgeseg.sinks``, ``base`` and ``images``: video files as they are written, and what breaks on the way."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.errors import InputError, SinkLost
from edgeseg.sinks import FfmpegPipe, ImageFile, ImageFiles, VideoFile, open_sink
from edgeseg.sinks.base import RealTime
from edgeseg.sinks.video_file import CODECS


@pytest.mark.parametrize("suffix", CODECS)
def test_every_suffix_reads_back_with_its_frames_rate_and_colors(tmp_path: Path, suffix: str, scene: Any) -> None:
    path = tmp_path / "new" / f"out{suffix}"
    video = VideoFile(path, fps=12.5)
    for _ in range(20):
        video.write(scene.frame(), "")
        assert not path.exists()
    video.close()
    video.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    found = scene.read(path)
    assert len(found) == video.frames_written == 20
    assert found[0].shape == (96, 128, 3)
    scene.assert_in(found[0])
    scene.assert_in(found[-1])


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
    with pytest.raises(InputError, match=r"'\.wmv' is none of \.mp4, \.mov, \.avi, \.mkv, \.webm"):
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


def test_a_live_video_plays_as_long_as_its_frames_took() -> None:
    clock = RealTime(10)
    assert [clock.repeats(now_s) for now_s in (5.0, 5.1, 5.12, 5.14, 5.5)] == [1, 1, 0, 0, 4]
    # Ten minutes of pause are one second of video, and then it goes on as before.
    assert clock.repeats(605.5) == 10
    assert [clock.repeats(605.5 + 0.1 * step) for step in (1, 2, 3)] == [1, 1, 1]


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
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "recording\n"
    process.send_signal(signal.SIGINT)
    written = int(process.communicate(timeout=60)[0])
    assert written > 20
    assert len(scene.read(tmp_path / "out.mp4")) == written


def test_a_full_disk_ends_the_recording_and_keeps_it(tmp_path: Path, scene: Any) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=19m", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        video = VideoFile(folder / "out.avi", fps=30)
        with pytest.raises(SinkLost, match=r"the disk of '.*out\.avi' is full \(16 MiB left"):
            for _ in range(500):
                video.write(noise, "")
        video.close()
        assert 10 < len(scene.read(folder / "out.avi")) == video.frames_written < 500
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size to set")
def test_a_file_that_may_not_grow_is_told_when_it_is_closed(tmp_path: Path) -> None:
    program = f"""
import resource
import numpy as np
from edgeseg.errors import SinkLost
from edgeseg.sinks import VideoFile
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
video = VideoFile({str(tmp_path / "out.mp4")!r}, fps=30)
for _ in range(100):
    video.write(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), "")
try:
    video.close()
except SinkLost as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "out.mp4' could not be written: what reached the disk is no video" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path, scene: Any) -> None:
    video = VideoFile(tmp_path / "gone" / "out.mp4", fps=10)
    video.write(scene.frame(), "")
    for file in (tmp_path / "gone").iterdir():
        file.unlink()
    with pytest.raises(SinkLost, match=r"out\.mp4' cannot be written any more: No such file"):
        video.write(scene.frame(), "")
    with pytest.raises(SinkLost, match="no video"):
        video.close()


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
        ("ffmpeg:a.mp4", FfmpegPipe),
        ("ffmpeg:udp://127.0.0.1:9", FfmpegPipe),
    ):
        sink = open_sink(text, fps=10)
        assert type(sink) is kind
        sink.close()
    for text in ("a.mp5", "", "a.gif"):
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
