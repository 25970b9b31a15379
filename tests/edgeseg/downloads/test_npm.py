"""A registry on this machine that sends the right package, another one, too much, too little, or nothing."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from edgeseg.downloads.npm import REGISTRY_VARIABLE, NpmPackage, download
from edgeseg.errors import InputError


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


RIGHT = archive(a=b"one", b=b"two")


def package(content: bytes = RIGHT) -> NpmPackage:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    return NpmPackage("@some/thing", "1.2.3", integrity, len(content))


class Registry(http.server.ThreadingHTTPServer):
    """Answers every request with ``sent``, and says that it is ``claimed`` bytes long."""

    sent = RIGHT
    claimed: int | None = None
    status = 200
    asked: list[str]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.server, Registry)
            self.server.asked.append(self.path)
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(self.server.claimed or len(self.server.sent)))
            self.end_headers()
            with suppress(ConnectionError):  # who has read enough leaves
                self.wfile.write(self.server.sent)

        def log_message(self, *args: object) -> None: ...

    with Registry(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(REGISTRY_VARIABLE, f"http://127.0.0.1:{server.server_port}/npm/")
        yield server
        server.shutdown()


def test_the_files_that_were_asked_for(registry: Registry) -> None:
    assert download(package(), ["b"]) == {"b": b"two"}
    assert registry.asked == ["/npm/@some/thing/-/thing-1.2.3.tgz"]


def test_another_archive_is_not_opened(registry: Registry) -> None:
    """Neither one of the same size nor one that begins like the right one and goes on."""
    for other in (archive(a=b"eno", b=b"two"), RIGHT + b"more" * 1_000_000):
        registry.sent = other
        with pytest.raises(
            InputError, match=r"is not the archive that edgeseg knows: its hash is sha512-\S+\.\.\., and"
        ):
            download(package(), ["b"])


@pytest.mark.parametrize(
    ("claimed", "status", "said"),
    [(None, 404, "404 Not Found"), (None, 500, "500 Internal Server Error"), (len(RIGHT) + 9, 200, "not the archive")],
)
def test_what_a_registry_lacks(registry: Registry, claimed: int | None, status: int, said: str) -> None:
    registry.claimed, registry.status = claimed, status
    registry.sent = RIGHT[: len(RIGHT) // 2] if claimed else RIGHT
    with pytest.raises(InputError, match=said):
        download(package(), ["b"])


def test_the_address_is_a_web_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REGISTRY_VARIABLE, "file:///etc")
    with pytest.raises(InputError, match="npm_config_registry must be an address that begins with https://"):
        download(package(), [])
    monkeypatch.setenv(REGISTRY_VARIABLE, "https://bob:s3cret@mirror.invalid/")
    with pytest.raises(InputError, match="has a user or a password in it") as refused:
        download(package(), [])
    assert "s3cret" not in str(refused.value)
    monkeypatch.setenv(REGISTRY_VARIABLE, "http://127.0.0.1:1/")
    with pytest.raises(InputError, match=r"cannot be downloaded: .* A mirror"):
        download(package(), [])
