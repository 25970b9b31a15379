"""Who gets the page (``server``, ``certificate``, ``pairing``), and that it takes nothing from anywhere else."""

from __future__ import annotations

import gzip
import http.client
import http.server
import io
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeseg.web.certificate import tls_context
from edgeseg.web.pairing import shown_address
from edgeseg.web.server import ISOLATION, POLICY, WebServer, _SiteHandler
from edgeseg.web.site import File, Site

SMALL = Site({"index.html": File(content=b"<p>page"), "runtime/a.wasm": File(content=b"gz", gzipped=True)})


@pytest.fixture
def small() -> Iterator[WebServer]:
    with WebServer(SMALL, port=0) as server:
        yield server


def status(server: WebServer, path: str, method: str = "GET", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_files_have_their_headers(small: WebServer) -> None:
    with urllib.request.urlopen(small.url) as answer:
        assert answer.read() == b"<p>page"
        assert answer.headers["Content-Security-Policy"] == POLICY and answer.headers["Content-Encoding"] is None
        assert {name: answer.headers[name] for name in ISOLATION} == dict(ISOLATION)
    with urllib.request.urlopen(small.url + "runtime/a.wasm") as answer:
        assert (answer.headers["Content-Encoding"], answer.headers["Content-Type"]) == ("gzip", "application/wasm")


@pytest.mark.parametrize(
    ("accepted", "gzipped"),
    [
        ("gzip, br", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip;q=1", True),
        ("gzip; q=0.001", True),
        ("", False),
        ("br", False),
        ("x-gzipped", False),
        ("gzip;q=0", False),
        ("br, gzip; q=0.000 ", False),
        ("gzip;q=many", False),
    ],
)
def test_texts_are_compressed_for_who_takes_that(small: WebServer, accepted: str, gzipped: bool) -> None:
    asked = urllib.request.Request(small.url, headers={"Accept-Encoding": accepted})
    with urllib.request.urlopen(asked) as answer:
        assert answer.headers["Content-Encoding"] == ("gzip" if gzipped else None)
        assert answer.headers["Vary"] == "Accept-Encoding"
        content = answer.read()
    assert (gzip.decompress(content) if gzipped else content) == b"<p>page"


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/runtime/..%2f..%2fetc/passwd", "/runtime/", "/other", "/\\"])
def test_only_what_is_listed_is_there(small: WebServer, path: str) -> None:
    assert status(small, path) == 404


def test_a_model_that_was_removed_is_not_there(tmp_path: Path) -> None:
    with WebServer(Site({"models/0/model.tflite": File(tmp_path / "gone.tflite")}), port=0) as server:
        assert status(server, "/models/0/model.tflite") == 404


def test_another_host_or_a_body_is_refused(small: WebServer) -> None:
    assert status(small, "/", Host="evil.example") == 421
    assert status(small, "/", "POST", **{"Content-Length": "100000000"}) == 413
    assert status(small, "/", "POST") == 404


def test_on_a_network_the_address_has_a_token_and_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: no https")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with WebServer(SMALL, host="0.0.0.0", port=0) as server:
        token = server.url.rstrip("/").rpartition("/")[2]
        assert server.url.startswith("https://") and server.is_public and len(token) >= 20
        key = tmp_path / "edgeseg" / "web" / "key.pem"
        assert key.stat().st_mode & 0o077 == 0  # nobody else on this machine reads it
        trusting = ssl.create_default_context(cafile=str(key.with_name("certificate.pem")))
        for path, expected in ((f"/{token}/", 200), ("/", 404), (f"/{token[:-1]}x/", 404), (f"/{token}", 404)):
            connection = http.client.HTTPSConnection("localhost", server.port, timeout=10, context=trusting)
            connection.request("GET", path)
            assert connection.getresponse().status == expected
            connection.close()
    _, fingerprint = tls_context()
    assert fingerprint == server.fingerprint  # it is kept, so that a phone is asked once
    key.with_name("certificate.pem").write_bytes(b"damaged")
    assert tls_context()[1] != fingerprint


def test_a_page_on_a_network_without_https_says_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    with WebServer(SMALL, host="0.0.0.0", port=0, https=False) as server:
        assert server.url.startswith("http://") and not server.fingerprint
    assert "gives its camera, threads and GPU to no page of" in caplog.text


def test_the_page_loads_nothing_from_another_host(page: Any) -> None:
    asked = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

        def log_message(self, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        image = f"Object.assign(new Image(), {{onload: ok, onerror: no, src: '{url}/image.png'}})"
        refused = page.run(
            f"Promise.allSettled([fetch('{url}/fetch'), import('{url}/script.js'), new Promise((ok, no) => {image})])"
            ".then((each) => each.map(({status}) => status))"
        )
        other.shutdown()
    assert refused == ["rejected"] * 3 and asked == []


def test_what_a_load_of_the_page_sends(
    artifacts: dict[str, Path], open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: 3.0 MB, of which 2.85 are LiteRT.js' module with threads."""
    sent: dict[str, int] = {}

    class Counted(_SiteHandler):
        def send(self, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            sent[self.path] = sent.get(self.path, 0) + len(body)
            super().send(content_type, body, headers)

    monkeypatch.setattr("edgeseg.web.server._SiteHandler", Counted)
    with WebServer(Site.of([artifacts["int8"]]), port=0) as server:
        open_page(server.url, "--disable-gpu").browser.close()
    assert len([path for path in sent if path.endswith(".wasm")]) == 1  # one of the three builds
    assert 2.5e6 < sum(size for path, size in sent.items() if not path.startswith("/models/")) <= 3.2e6, sent


def test_a_static_host_gets_threads_by_the_service_worker(
    site: Site, tmp_path: Path, open_browser: Callable[..., Any]
) -> None:
    """Python's own server sets no header at all."""
    site.write(tmp_path)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        browser = open_browser("--disable-gpu")
        browser("Page.navigate", url=f"http://127.0.0.1:{host.server_port}/")
        ready = "self.crossOriginIsolated && document.getElementById('state')?.textContent === 'Ready'"
        for _ in range(600):
            if browser.evaluate(ready):
                break
            threading.Event().wait(0.1)
        assert browser.evaluate(ready)
        assert "thread" in browser.evaluate("document.getElementById('ran').textContent")
        assert browser.evaluate("document.getElementById('threads').options.length") > 1
        browser.close()
        host.shutdown()


def test_a_terminal_gets_a_code_to_point_the_camera_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("segno", reason="segno is not installed: no QR code")
    url = "https://192.0.2.7:8080/abc/"
    assert shown_address(url, with_code=True, stream=io.StringIO()) == [url]  # a pipe gets the address alone
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert shown_address(url, with_code=False, stream=terminal) == [url]
    *code, last = shown_address(url, with_code=True, stream=terminal)
    assert last == url and len(code) > 10 and any("▀" in line for line in code)
