from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg._internal.text import masked
from edgeseg.errors import BackendUnavailable, InputError, SinkLost
from edgeseg.sinks import FfmpegPipe


@pytest.fixture(autouse=True)
def _ffmpeg_on_the_path(ffmpeg_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{ffmpeg_folder}{os.pathsep}{os.environ['PATH']}")


def a_program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a script before the ffmpeg on the PATH."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgeseg-ffmpeg")]


def test_a_file_has_every_frame_and_its_colors(tmp_path: Path, scene: Any) -> None:
    path = tmp_path / "out.mp4"
    pipe = FfmpegPipe(str(path), fps=25)
    frame = scene.frame(97, 129)  # odd: H.264 takes even sizes
    for _ in range(30):
        pipe.write(frame, "")
    frame[:] = 0  # the caller's again: a copy is what ffmpeg gets
    assert not path.exists()
    pipe.close()
    pipe.close()
    found = scene.read(path)
    assert len(found) == 30
    assert found[0].shape == (96, 128, 3)
    scene.assert_in(found[0])
    scene.assert_in(found[-1])
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    assert not own_threads()


def test_a_stream_arrives(scene: Any, tmp_path: Path, ffmpeg_folder: Path) -> None:
    received = tmp_path / "received.mkv"
    port = free_port()
    options = ("-loglevel", "error", "-y", "-f", "mpegts", "-i")
    listener = subprocess.Popen(
        [ffmpeg_folder / "ffmpeg", *options, f"tcp://127.0.0.1:{port}?listen=1", "-c:v", "ffv1", str(received)],
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_for_listener(port)
        pipe = FfmpegPipe(f"tcp://127.0.0.1:{port}", fps=100)
        for _ in range(30):
            pipe.write(scene.frame(), "")
            time.sleep(0.02)
        pipe.close()
        assert listener.wait(20) == 0
    finally:
        listener.kill()
        listener.wait()
    found = scene.read(received)
    assert 10 <= len(found) <= 30  # which of them depends on when they came
    scene.assert_in(found[-1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_listener(port: int) -> None:
    """Until a port listens; by the system's table, for a connection would be taken as the stream."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        time.sleep(2)
        return
    end = time.monotonic() + 20
    while f"0100007F:{port:04X} 00000000:0000 0A" not in table.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_server_that_is_not_there_is_one_line_without_the_key(scene: Any) -> None:
    pipe = FfmpegPipe(f"rtmp://me:pw@127.0.0.1:{free_port()}/live/secret-key", fps=25)
    with pytest.raises(SinkLost, match="refused") as caught:
        for _ in range(500):
            pipe.write(scene.frame(), "")
            time.sleep(0.01)
    pipe.close()
    text = str(caught.value)
    assert "ffmpeg, writing 'rtmp://me:***@127.0.0.1" in text
    assert "ended with status" in text
    assert "\n" not in text
    assert not any(secret in text for secret in ("secret-key", "pw"))
    assert not own_threads()


def test_a_killed_ffmpeg_is_told_and_its_file_is_not_taken_for_one(tmp_path: Path, scene: Any) -> None:
    pipe = FfmpegPipe(str(tmp_path / "out.mp4"), fps=25)
    pipe.write(scene.frame(), "")
    assert pipe._process is not None
    pipe._process.send_signal(signal.SIGKILL)
    with pytest.raises(SinkLost, match=r"out\.mp4', ended with status -9"):
        for _ in range(500):
            pipe.write(scene.frame(), "")
            time.sleep(0.01)
    with pytest.raises(SinkLost):
        pipe.close()
    assert not list(tmp_path.iterdir())
    assert not own_threads()


@pytest.mark.parametrize("target", ["out.mp4", "udp://127.0.0.1:9"])
def test_a_hung_ffmpeg_does_not_hold_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    a_program(tmp_path, "exec sleep 600", monkeypatch)
    monkeypatch.chdir(tmp_path)
    pipe = FfmpegPipe(target, fps=25, stall_s=0.3)
    frame = np.zeros((480, 640, 3), np.uint8)  # larger than a pipe's buffer
    with pytest.raises(SinkLost, match=r"took no frame for 0\.3 s"):
        for _ in range(1000):
            pipe.write(frame, "")
            time.sleep(0.001)
    if target == "out.mp4":
        with pytest.raises(SinkLost):
            pipe.close()
    else:
        assert pipe.dropped > 0
        pipe.close()
    assert not own_threads()


def test_an_ffmpeg_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Any) -> None:
    a_program(tmp_path, "cat > /dev/null; exec sleep 600", monkeypatch)
    pipe = FfmpegPipe("udp://127.0.0.1:9", fps=25, stall_s=0.3)
    pipe.write(scene.frame(), "")
    process = pipe._process
    with pytest.raises(SinkLost, match=r"took no frame for 0\.3 s"):
        pipe.close()
    assert process is not None
    assert process.returncode == -9
    assert not own_threads()


def test_options_win_over_ours(tmp_path: Path, scene: Any) -> None:
    pipe = FfmpegPipe(str(tmp_path / "out.mkv"), fps=25, options=("-c:v", "ffv1", "-pix_fmt", "bgr0"))
    pipe.write(scene.frame(), "")
    pipe.close()
    assert (scene.read(tmp_path / "out.mkv")[0] == scene.frame()).all()  # FFV1 in RGB loses nothing
    pipe = FfmpegPipe(str(tmp_path / "bad.mp4"), fps=25, options=("-c:v", "h246"))
    with pytest.raises(SinkLost, match=r"h246"):
        for _ in range(500):
            pipe.write(scene.frame(), "")
            time.sleep(0.01)
    with pytest.raises(SinkLost, match=r"h246"):
        pipe.close()


def test_a_virtual_camera_gets_what_readers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_char_device", lambda self: True)
    command = FfmpegPipe("/dev/video10", fps=30).command((480, 640))
    assert command[-3:] == ["-f", "v4l2", "/dev/video10"]
    assert command[command.index("-pix_fmt") + 1] == "yuv420p"


def test_what_cannot_begin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"there\.mp4' exists; give `overwrite=True`"):
        FfmpegPipe(str(tmp_path / "there.mp4"), fps=25)
    with pytest.raises(InputError, match=r"'/dev/video99' is no device; make a .* video_nr=99$"):
        FfmpegPipe("/dev/video99", fps=25)
    with pytest.raises(InputError, match=r"'gopher://x': accepted schemes are rtmp"):
        FfmpegPipe("gopher://x", fps=25)
    with pytest.raises(InputError, match="'out' has no suffix"):
        FfmpegPipe("out", fps=25)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="ffmpeg, which is not on the PATH; install it"):
        FfmpegPipe("out.mp4", fps=25)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("rtmp://host/app/key?x=1", "rtmp://host/app/***"),
        ("rtmp://me:p/w@d@host/app/key", "rtmp://me:***@host/app/***"),
        ("rtmp://host:1935/app/k@y", "rtmp://host:1935/app/***"),
        ("rtmp://me:12/pw@host/app/key", "rtmp://me:12/***"),
        ("rtsp://me:pw@host:8554/cam/", "rtsp://me:***@host:8554/cam/"),
        ("srt://host:9?passphrase=pw", "srt://host:9/***"),
        ("udp://127.0.0.1:9", "udp://127.0.0.1:9"),
        ("out.mp4", "out.mp4"),
    ],
)
def test_secrets_of_a_url_are_masked(target: str, shown: str) -> None:
    assert masked(target, stream_key=True) == shown
