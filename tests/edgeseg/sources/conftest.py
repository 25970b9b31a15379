"""What the tests of sources share: a small clip, a real ffmpeg that serves streams, and what a process holds open."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames of 64x80, MJPG at 10 a second, whose red is 20 times the frame's number."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 64))
    for number in range(10):
        writer.write(np.full((64, 80, 3), (10, 30, 20 * number), np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """Path of the ffmpeg that imageio-ffmpeg brings."""
    return str(pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg: no ffmpeg to serve").get_ffmpeg_exe())


@pytest.fixture
def serve(ffmpeg: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A function that starts ffmpeg on a URL, for one client, with a moving picture; killed at the end."""
    running: list[subprocess.Popen[bytes]] = []

    def start(url: str, size: str = "80x64") -> subprocess.Popen[bytes]:
        codec = ["-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1"]
        if not url.startswith("http"):
            codec = ["-c:v", "mpeg2video", "-g", "5", "-f", "mpegts"]
        picture = ["-re", "-f", "lavfi", "-i", f"testsrc=size={size}:rate=25"]
        running.append(subprocess.Popen([ffmpeg, "-loglevel", "quiet", *picture, *codec, url]))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails a test that leaves a thread or a file descriptor behind; a native timeout may first have to pass."""
    before = _held()
    yield
    deadline = time.monotonic() + 10
    while (left := _held() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _held() -> set[object]:
    """Threads of Python, and what the descriptors of this process stand for: sockets, files and devices."""
    links: set[object] = set()
    for entry in Path("/proc/self/fd").glob("*") if Path("/proc/self/fd").is_dir() else ():
        try:
            links.add(str(entry.readlink()))
        except OSError:  # the one that the listing itself had open
            continue
    return {link for link in links if not str(link).startswith("/proc")} | set(threading.enumerate())
