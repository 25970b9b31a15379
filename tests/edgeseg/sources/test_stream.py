"""Live sources against real servers on loopback."""

from __future__ import annotations

import http.server
import logging
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from edgeseg.errors import InputError, SourceLost
from edgeseg.sources import open_source

Serve = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform == "win32", reason="servers are stopped by signals"),
]

#: How long a server may take to be there; generous, as it is waited for and not slept.
START_S = 30.0


def test_a_stream_gives_frames_as_they_come(serve: Serve, free_port: int) -> None:
    url = f"tcp://127.0.0.1:{free_port}"
    serve(f"{url}?listen=1")
    source = open_source(url, reconnect_s=START_S)
    assert (source.name, source.live, source.fps, source.missing_frames) == (url, True, 25, 0)
    found = [source.read() for _ in range(10)]
    source.close()
    assert source.read() is None
    indices = [captured.index for captured in found if captured]
    assert len(indices) == 10
    assert indices == sorted(set(indices))
    for captured in found:
        assert captured is not None
        assert captured.image_bgr.shape == (64, 80, 3)
        assert captured.name == f"stream_{captured.index:06d}"
        assert captured.captured_s <= time.perf_counter()


def test_a_slow_reader_gets_the_newest_frame(serve: Serve, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/feed"
    serve(url)
    source = open_source(url, reconnect_s=START_S)
    first = source.read()
    time.sleep(0.5)  # 12 frames
    asked_s = time.perf_counter()
    second = source.read()
    source.close()
    assert first is not None
    assert second is not None
    assert second.index > first.index + 3
    assert second.captured_s > asked_s - 0.4


def test_a_server_that_is_killed_and_restarted_is_found_again_with_another_size(
    serve: Serve, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{free_port}/feed"
    server = serve(url)
    source = open_source(url, reconnect_s=START_S)
    found = [source.read() for _ in range(3)]
    server.kill()
    server.wait()
    serve(url, "160x120")
    while (captured := source.read()) is not None:
        found.append(captured)
        if captured.image_bgr.shape == (120, 160, 3):
            break
    found += [source.read() for _ in range(2)]
    source.close()
    indices = [captured.index for captured in found if captured]
    assert indices == sorted(set(indices))
    lost, back = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(rf"'{url}' broke off( \(.+\))?; waiting for it, 30 s at most\.", lost)
    assert back == f"'{url}' is back."
    assert {(record.name, record.levelno) for record in caplog.records} == {("edgeseg.sources", logging.WARNING)}


@pytest.mark.parametrize(
    ("reconnect_s", "message"), [(None, "broke off after"), (0.6, "did not come back within 0.6 s")]
)
def test_a_server_that_is_not_restarted_is_lost(
    reconnect_s: float | None, message: str, serve: Serve, free_port: int
) -> None:
    url = f"http://127.0.0.1:{free_port}/feed"
    server = serve(url)
    wait_until_it_listens(free_port)
    source = open_source(url, reconnect_s=reconnect_s)
    assert source.read() is not None
    server.kill()
    server.wait()
    killed_s = time.perf_counter()
    with pytest.raises(SourceLost, match=message):
        while source.read() is not None:
            pass
    assert time.perf_counter() - killed_s >= (reconnect_s or 0) - 0.2
    with pytest.raises(SourceLost, match=message):
        source.read()
    source.close()


def test_a_server_that_stands_still_is_lost_after_the_timeout(serve: Serve, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/feed"
    server = serve(url)
    wait_until_it_listens(free_port)
    source = open_source(url, timeout_s=1)
    assert source.read() is not None
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(SourceLost, match="broke off"):
        while source.read() is not None:
            pass
    source.close()


def test_close_wakes_a_read_of_a_server_that_stands_still(serve: Serve, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/feed"
    server = serve(url)
    wait_until_it_listens(free_port)
    source = open_source(url, timeout_s=5)
    assert source.read() is not None
    server.send_signal(signal.SIGSTOP)
    ended: list[object] = []

    def read() -> None:
        while source.read() is not None:
            pass
        ended.append(None)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.3)
    assert not ended
    source.close()
    reader.join(timeout=4)  # OpenCV itself is woken only after its 5 s
    assert ended


def test_close_ends_the_wait_for_a_server_that_is_gone(serve: Serve, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/feed"
    server = serve(url)
    source = open_source(url, reconnect_s=600)
    assert source.read() is not None
    server.kill()
    server.wait()
    closer = threading.Timer(1, source.close)
    closer.start()
    while source.read() is not None:
        pass
    closer.join()


class RtspServer:
    """One client's RTSP: MPEG-TS from ffmpeg in RTP packets, interleaved with the commands on one connection."""

    def __init__(self, ffmpeg: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(START_S)
        self.port = self._listener.getsockname()[1]
        image = ["-re", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25"]
        codec = ["-c:v", "mpeg2video", "-g", "5", "-f", "mpegts", "-"]
        self._command = [ffmpeg, "-loglevel", "quiet", *image, *codec]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as client, client.makefile("rb") as commands:
            while line := commands.readline().decode():
                method = line.split()[0]
                headers = dict(row.split(": ", 1) for row in iter(lambda: commands.readline().decode().strip(), ""))
                answer, body = {"Session": "1"}, ""
                if method == "DESCRIBE":
                    answer["Content-Type"] = "application/sdp"
                    body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:1\r\n"
                if method == "SETUP":
                    answer["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
                answer |= {"CSeq": headers["CSeq"], "Content-Length": str(len(body))}
                head = "".join(f"{name}: {value}\r\n" for name, value in answer.items())
                client.sendall(f"RTSP/1.0 200 OK\r\n{head}\r\n{body}".encode())
                if method == "PLAY":
                    self._play(client)
                    return

    def _play(self, client: socket.socket) -> None:
        with subprocess.Popen(self._command, stdout=subprocess.PIPE) as ffmpeg:
            assert ffmpeg.stdout is not None
            try:
                for number in range(200):  # of 7 packets of 188 bytes each
                    payload = struct.pack(">BBHII", 0x80, 33, number, 3600 * number, 1) + ffmpeg.stdout.read(7 * 188)
                    client.sendall(struct.pack(">cBH", b"$", 0, len(payload)) + payload)
            except OSError:  # the client went
                pass
            ffmpeg.kill()


@pytest.mark.skipif(
    tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 12),
    reason="OpenCV 4.11 asks for UDP first, and the server here answers with TCP whatever it is asked",
)
def test_rtsp(ffmpeg: str) -> None:
    server = RtspServer(ffmpeg)
    source = open_source(f"rtsp://me:secret@127.0.0.1:{server.port}/door", timeout_s=START_S)
    assert source.name == f"rtsp://me:***@127.0.0.1:{server.port}/door"
    found = [source.read() for _ in range(5)]
    source.close()
    server.thread.join()
    assert [captured.image_bgr.shape for captured in found if captured] == [(64, 80, 3)] * 5


def test_a_server_that_never_answers_is_told_after_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for scheme in ("http", "rtsp", "tcp"):
            url = f"{scheme}://me:secret@127.0.0.1:{silent.getsockname()[1]}/feed"
            with pytest.raises(InputError, match=r"//me:\*\*\*@.*does not answer within 0.3 s"):
                open_source(url, timeout_s=0.3)


def test_a_port_where_nobody_listens_is_told_at_once(free_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"/feed' cannot be opened: nothing answers there"):
        open_source(f"http://127.0.0.1:{free_port}/feed")
    assert "WARN" not in capfd.readouterr().err


@pytest.fixture
def website(clip: Path) -> Iterator[str]:
    """A web server with ``clip.avi``; ``short.avi`` is the same, but the connection ends in the middle."""
    content = clip.read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) * 85 // 100] if "short" in self.path else content)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_video_file_of_a_web_server_has_an_end_and_every_frame(website: str) -> None:
    source = open_source(f"{website}/clip.avi?key=secret")
    assert (source.name, source.live, source.fps) == (f"{website}/clip.avi?key=***", False, 10)
    names = []
    while (captured := source.read()) is not None:
        names.append(captured.name)
    source.close()
    assert names == [f"clip_{number:06d}" for number in range(10)]


def test_a_video_file_whose_connection_breaks_is_lost(website: str) -> None:
    source = open_source(f"{website}/short.avi")
    count = 0
    with pytest.raises(SourceLost, match=r"says it has 10 frames, but \d decode: the connection broke"):
        while source.read() is not None:
            count += 1
    source.close()
    assert 3 <= count <= 7


def wait_until_it_listens(port: int) -> None:
    """Wait for a server without connecting to it: it takes one client."""
    address = f"0100007F:{port:04X}"
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        rows = Path("/proc/net/tcp").read_text().splitlines()
        if any(row.split()[1] == address and row.split()[3] == "0A" for row in rows[1:]):
            return
        time.sleep(0.02)
    pytest.fail(f"nobody listens on port {port}")
