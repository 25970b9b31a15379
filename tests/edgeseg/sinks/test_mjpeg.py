"""``mjpeg_http``: the stream in a browser, with real connections."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.sinks import MjpegServer


@pytest.fixture
def feed(server: MjpegServer) -> Iterator[Callable[[np.ndarray], None]]:
    """Starts a thread that writes a frame 50 times a second."""
    stop = threading.Event()
    threads = []

    def start(image_bgr: np.ndarray) -> None:
        def run() -> None:
            while not stop.wait(0.02):
                server.write(image_bgr, "")

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def get(server: MjpegServer, path: str, **headers: str) -> http.client.HTTPResponse:
    return urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers), timeout=10)


PART_HEAD = b"--edgeseg-frame\r\nContent-Type: image/jpeg\r\n\r\n"


def next_part(response: Any) -> np.ndarray:
    """The next image of a multipart stream behind its first head, BGR."""
    end = b"\r\n" + PART_HEAD
    part = bytearray()
    while not part.endswith(end):
        part += response.readline()
    return cv2.imdecode(np.frombuffer(part[: -len(end)], np.uint8), cv2.IMREAD_COLOR)


def open_stream(server: MjpegServer) -> http.client.HTTPResponse:
    response = get(server, "stream.mjpg")
    assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=edgeseg-frame"
    assert response.read(len(PART_HEAD)) == PART_HEAD
    return response


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_stream_has_the_frames(server: MjpegServer, feed: Any, scene: Any) -> None:
    feed(scene.frame())
    with open_stream(server) as first, open_stream(server) as second:
        for response in (first, second, first):
            image = next_part(response)
            assert image.shape == (96, 128, 3)
            scene.assert_in(image)
        assert server.watchers == 2
    wait_until(lambda: server.watchers == 0)


def test_opencv_reads_the_stream_as_a_source(server: MjpegServer, feed: Any, scene: Any) -> None:
    feed(scene.frame())
    capture = cv2.VideoCapture(server.url + "stream.mjpg")
    for _ in range(3):
        decoded, image = capture.read()
        assert decoded
        scene.assert_in(image)
    capture.release()


def test_a_snapshot_is_the_next_frame_and_not_an_old_one(server: MjpegServer, feed: Any, scene: Any) -> None:
    server.write(np.zeros((96, 128, 3), np.uint8), "")
    feed(scene.frame())
    with get(server, "snapshot.jpg") as response:
        image = cv2.imdecode(np.frombuffer(response.read(), np.uint8), cv2.IMREAD_COLOR)
    scene.assert_in(image)
    assert response.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_frame_is_encoded_once_and_only_for_somebody(
    server: MjpegServer, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, count = cv2.imencode, []
    monkeypatch.setattr(cv2, "imencode", lambda *args: count.append(1) or encode(*args))
    for _ in range(5):
        server.write(scene.frame(), "")
    assert len(count) == 0
    with open_stream(server) as first, open_stream(server) as second:
        wait_until(lambda: server.watchers == 2)
        server.write(scene.frame(), "")
        next_part(first)
        next_part(second)
    assert len(count) == 1
    wait_until(lambda: server.watchers == 0)  # found out although no frame comes
    server.write(scene.frame(), "")
    assert len(count) == 1


def test_stats_are_what_the_callable_says(server: MjpegServer) -> None:
    with get(server, "stats") as response:
        assert json.load(response) == {}
    server.stats = lambda: {"fps": 12.5, "dropped": 3}
    with get(server, "stats?again") as response:
        assert json.load(response) == {"fps": 12.5, "dropped": 3}
        assert response.headers["Content-Type"] == "application/json"


def test_a_client_that_stalls_holds_nobody(server: MjpegServer, scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.sinks.mjpeg_http._FeedHandler.timeout", 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with socket.create_connection(("127.0.0.1", server.port)) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: server.watchers == 1)
        with open_stream(server) as good:
            for _ in range(30):  # 6 MB, more than any buffer on the way to the stalled one
                server.write(noise, "")
                next_part(good)
            wait_until(lambda: server.watchers == 1)  # the stalled one was dropped
            server.write(scene.frame(), "")
            scene.assert_in(next_part(good))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing says what a socket has delivered")
def test_a_slow_client_gets_the_newest_frame_and_few_old_ones(server: MjpegServer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: server.watchers == 1)
        for number in range(1, 41):  # 60 kB each, while it reads nothing
            image_bgr = noise.copy()
            image_bgr[:, 160:] = number * 6
            server.write(image_bgr, "")
            time.sleep(0.005)
        response = slow.makefile("rb")
        while response.readline() != PART_HEAD.splitlines(keepends=True)[0]:
            pass
        response.readline()
        response.readline()
        levels = []
        while not levels or levels[-1] != 40:
            levels.append(round(next_part(response)[:, 200:].mean() / 6))
    # Its system takes some (128 KiB at first), one is on the way, and then comes the newest.
    assert len(levels) <= 6, levels


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_a_request_in_another_hosts_name_is_refused(server: MjpegServer, host: str) -> None:
    for path in ("", "stream.mjpg", "snapshot.jpg", "stats"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(server, path, Host=host)
        assert caught.value.code == 421
        caught.value.close()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1", "[::1]:80"])
def test_this_machines_own_names_are_answered(server: MjpegServer, host: str) -> None:
    with get(server, "stats", Host=host) as response:
        assert response.status == 200


def test_only_four_paths_and_two_methods_are_answered(server: MjpegServer) -> None:
    for path in ("etc/passwd", "../pyproject.toml", "page.html", "%2e%2e/", "stream.mjpg/"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(server, path)
        assert caught.value.code == 404
        caught.value.close()
    for method, status in (("POST", 501), ("OPTIONS", 501), ("HEAD", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request(method, "/stream.mjpg" if method == "HEAD" else "/")
        response = connection.getresponse()
        assert response.status == status
        assert method != "HEAD" or response.read() == b""
        assert "Python" not in response.headers["Server"]
        connection.close()


def test_close_ends_everybody(scene: Any) -> None:
    before = set(threading.enumerate())
    server = MjpegServer(port=0)
    with open_stream(server) as watching, socket.create_connection(("127.0.0.1", server.port)) as silent:
        wait_until(lambda: server.watchers == 1)
        server.close()
        server.close()
        assert watching.read() == b""
        with suppress(ConnectionResetError):
            assert silent.recv(10) == b""
    # close() waits for them so long and no longer, which on a busy machine may be too short.
    wait_until(
        lambda: not [each for each in set(threading.enumerate()) - before if each.name.startswith("edgeseg-http")]
    )
    server.write(scene.frame(), "")
    MjpegServer(port=server.port).close()  # the port is free again at once


def test_where_it_cannot_listen_is_one_line(server: MjpegServer) -> None:
    with pytest.raises(InputError, match=rf"port {server.port} of 127\.0\.0\.1 is in use; give another one, or 0"):
        MjpegServer(port=server.port)
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(InputError, match=f"'{host}' is no address of this machine"):
            MjpegServer(host=host, port=0)
    with pytest.raises(InputError, match="quality must be 1 to 100, got 0"):
        MjpegServer(port=0, quality=0)
    with pytest.raises(InputError, match="a port must be 0 to 65535, got 70000"):
        MjpegServer(port=70000)


def test_for_other_machines_any_name_is_good_and_the_log_warns(caplog: pytest.LogCaptureFixture) -> None:
    server = MjpegServer(host="0.0.0.0", port=0)
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/stats", headers={"Host": "pi.local"})
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200
    finally:
        server.close()
    assert "there is no password" in caplog.text


def test_a_browser_shows_the_stream_and_the_figures(
    server: MjpegServer, feed: Any, scene: Any, browser: Any, tmp_path: Path
) -> None:
    server.stats = lambda: {"fps": 12.345, "age_ms": 41.26, "dropped": 3, "source": "<b>0</b>", "stages": {"a": 1}}
    feed(scene.frame(360, 640))
    browser("Page.enable")
    browser("Page.navigate", url=server.url)
    wait_until(lambda: "age ms" in (browser.evaluate("document.body.innerText") or ""))
    assert browser.evaluate("document.getElementById('stats').innerText").split("\n") == [
        *("fps", "12.3", "age ms", "41.3", "dropped", "3", "source", "<b>0</b>")
    ]
    backgrounds = []
    for scheme in ("light", "dark"):
        browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        wait_until(lambda: browser.evaluate("document.getElementById('stream').naturalWidth") == 640)
        shot = browser.screenshot()
        cv2.imwrite(str(tmp_path / f"{scheme}.png"), shot)
        left, top, width, height = scene.where(shot)
        assert (width, height) == (640, 360)
        scene.assert_in(shot[top : top + height, left : left + width])
        backgrounds.append(shot[-5, 5].mean())
    assert backgrounds[0] > 200 > 60 > backgrounds[1]
    # The server goes: the page says so. It comes back: so does the image.
    server.close()
    wait_until(lambda: "connection lost" in browser.evaluate("document.body.innerText"))
    again = MjpegServer(port=server.port)
    wait_until(lambda: again.watchers == 1)
    again.write(scene.frame(180, 320), "")  # one frame is enough for it to be seen
    wait_until(lambda: browser.evaluate("document.getElementById('stream').naturalWidth") == 320)
    assert "connection lost" not in browser.evaluate("document.body.innerText")
    again.close()
