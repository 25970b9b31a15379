from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError, SinkLost
from edgeseg.sinks import PushedStream, stream
from edgeseg.sinks.stream import is_stream
from edgeseg.video.library import has_av


class Server:
    """Takes what is pushed to a port; goes and comes back."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.received: list[bytearray] = []
        self._listener: socket.socket | None = None
        self._clients: list[socket.socket] = []

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
                self._clients.append(client)
                self.received.append(bytearray())
                while piece := client.recv(65536):
                    self.received[-1] += piece
            except OSError:
                if self._listener is not listener:
                    return

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        for one in [listener, *self._clients] if listener is not None else self._clients:
            with contextlib.suppress(OSError):  # it is gone already
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._clients = []


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _ffmpeg_on_the_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_av():
        folder = request.getfixturevalue("ffmpeg_folder")
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_an_address_that_cannot_be_taken_apart_is_told() -> None:
    with pytest.raises(
        InputError, match=r"'rtmp://me:\*\*\*@\[::1/live.*' is no address: .* HOST, HOST:PORT or \[IPv6\]"
    ) as refused:
        PushedStream("rtmp://me:secret@[::1/live/key", fps=25)
    assert "secret" not in str(refused.value)


def feed_until(pushed: PushedStream, image_bgr: np.ndarray, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        pushed.write(image_bgr, "")
        time.sleep(0.01)


def test_a_server_that_goes_and_comes_back_gets_the_stream_again(
    server: Server, scene: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "FIRST_PAUSE_S", 0.1)
    server.start()
    pushed = PushedStream(f"tcp://127.0.0.1:{server.port}", fps=50)
    feed_until(pushed, scene.frame(), lambda: bool(server.received) and len(server.received[0]) > 5000)
    server.stop()
    feed_until(pushed, scene.frame(), lambda: pushed.dropped > 5)
    server.start()
    feed_until(pushed, scene.frame(), lambda: len(server.received) > 1 and len(server.received[-1]) > 5000)
    pushed.close()
    pushed.close()
    assert pushed.connected
    said = [record.getMessage() for record in caplog.records]
    assert "Next try in 0.1 s; the other outputs go on." in said[0]
    assert said[-1].startswith(f"'tcp://127.0.0.1:{server.port}' was lost ") and "frames were not sent." in said[-1]
    if has_av():
        import av

        with av.open(io.BytesIO(server.received[-1]), format="mpegts") as container:
            scene.assert_in(next(container.decode(video=0)).to_ndarray(format="bgr24"))


def test_a_server_that_is_never_there_is_an_error_at_the_end_without_the_key(
    server: Server, scene: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "FIRST_PAUSE_S", 0.05)
    pushed = PushedStream(f"rtmp://me:pw@127.0.0.1:{server.port}/live/secret-key", fps=50)
    feed_until(pushed, scene.frame(), lambda: pushed._losses > 2)
    with pytest.raises(SinkLost, match="refused") as caught:
        pushed.close()
    assert len(caplog.records) == 1  # and not one a try
    for text in (str(caught.value), caplog.text):
        assert "rtmp://me:***@127.0.0.1" in text
        assert not any(secret in text for secret in ("secret-key", ":pw@"))
    assert (pushed.connected, pushed.sent) == (False, 0)


class _Pipe:
    """A process that is told what to do."""

    def __init__(self, log: list[float], works: bool) -> None:
        self._works, self.dropped = works, 0
        log.append(stream.time.monotonic())

    def write(self, image_bgr: np.ndarray, name: str) -> None:
        if not self._works:
            raise SinkLost("it is away.")

    def close(self) -> None:
        pass


def test_tries_are_further_and_further_apart_until_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[float] = [1000.0]
    tries: list[float] = []
    works = [False]
    monkeypatch.setattr(stream.time, "monotonic", lambda: now[0])
    pushed = PushedStream("udp://127.0.0.1:9", fps=10, pipe=lambda: _Pipe(tries, works[0]))  # type: ignore[arg-type, return-value]
    frame = np.zeros((8, 8, 3), np.uint8)
    for _ in range(1000):
        pushed.write(frame, "")
        now[0] += 0.1
    # The first is made before the first frame.
    assert np.diff(tries).round().tolist() == [1, 2, 4, 8, 16, 30, 30]
    works[0] = True
    for _ in range(600):
        pushed.write(frame, "")
        now[0] += 0.1
    assert len(tries) == 9 and pushed.connected
    assert pushed._pause_s == stream.FIRST_PAUSE_S
    assert pushed.sent + pushed.dropped == 1600
    assert pushed.sent > 250
    pushed.close()
    assert pushed.sent + pushed.dropped == 1600


def test_a_silent_server_holds_neither_the_loop_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STALL_S", 0.3)
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it never accepts nor reads
        pushed = PushedStream(f"tcp://127.0.0.1:{listener.getsockname()[1]}", fps=50)
        feed_until(pushed, noise, lambda: pushed._losses > 0)
        pushed.write(noise, "")
        with contextlib.suppress(SinkLost):  # where even the start of the process took longer than that
            pushed.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgeseg-ffmpeg")]


def test_rtmp_arrives(tmp_path: Path, ffmpeg_folder: Path, server: Server, scene: Any) -> None:
    url, received = f"rtmp://127.0.0.1:{server.port}/live/key", tmp_path / "received.mkv"
    options = ("-loglevel", "error", "-y", "-f", "flv", "-listen", "1", "-i", url, "-c:v", "ffv1", str(received))
    listener = subprocess.Popen([ffmpeg_folder / "ffmpeg", *options], stdin=subprocess.DEVNULL)
    try:
        pushed = PushedStream(url, fps=50)
        feed_until(pushed, scene.frame(), lambda: pushed.connected)
        end = time.monotonic() + 1
        feed_until(pushed, scene.frame(), lambda: time.monotonic() > end)
        pushed.close()
        assert listener.wait(30) == 0
    finally:
        listener.kill()
        listener.wait()
    scene.assert_in(scene.read(received)[-1])


@pytest.mark.skipif(not has_av(), reason="PyAV is not installed")
def test_srt_is_for_the_program_until_pyav_has_it(ffmpeg_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    # When this fails, PyAV's wheels have learned SRT: take it out of PROGRAMS_OWN.
    with pytest.raises(av.FFmpegError, match="Protocol not found"):
        av.open("srt://127.0.0.1:1", timeout=1)
    monkeypatch.setenv("PATH", str(ffmpeg_folder))
    assert PushedStream("srt://127.0.0.1:9", fps=25)._pipe.who == "ffmpeg"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendUnavailable, match="needs the program ffmpeg"):
        PushedStream("srt://127.0.0.1:9", fps=25)
    assert PushedStream("udp://127.0.0.1:9", fps=25)._pipe.who == "the stream"


def test_what_is_no_stream_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert is_stream("RTMPS://host/x") and not is_stream("out.mp4") and not is_stream("gopher://x")
    with pytest.raises(InputError, match="'gopher://x': accepted schemes are rtmp"):
        PushedStream("gopher://x", fps=25)
    with pytest.raises(InputError, match=r"0\.01 to 1000 frames a second"):
        PushedStream("udp://127.0.0.1:9", fps=0)
    monkeypatch.setattr(stream, "has_av", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match=r'pip install "edgeseg\[video\]"'):
        PushedStream("udp://127.0.0.1:9", fps=25)
