"""``connections`` and ``server`` over TLS, and where the network fails."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edgeseg.http.connections import MAX_PER_ADDRESS, Connection, Connections
from edgeseg.http.handler import Handler
from edgeseg.http.server import HttpServer

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Page(Handler):
    """Answers a word, or fails as the network does."""

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.path == "/lost":
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        self.send("text/plain", b"hello")


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    pytest.importorskip("cryptography", reason="cryptography is not installed: no certificate")
    from edgeseg.web.certificate import tls_context

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tls_context()[0]


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def serve(stack: ExitStack, tls: ssl.SSLContext | None) -> HttpServer:
    server = HttpServer("127.0.0.1", 0, Page, tls=tls)
    server.start()
    stack.callback(server.close)
    return server


def connect(stack: ExitStack, server: HttpServer) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))


def answer(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    said = b""
    while piece := client.recv(65536):
        said += piece
    return said


def test_silent_clients_give_way_before_their_handshake(
    clients: ExitStack, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.http.server.REQUEST_TIMEOUT_S", 600)  # nobody goes for being slow
    server = serve(clients, tls)
    silent = [connect(clients, server) for _ in range(MAX_PER_ADDRESS)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    good = clients.enter_context(context.wrap_socket(connect(clients, server)))
    assert answer(good, REQUEST).endswith(b"\r\n\r\nhello")
    assert silent[0].recv(1) == b""  # the oldest went, at once


def test_a_full_server_says_nothing_that_is_no_handshake(
    clients: ExitStack, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connections, "admit", lambda *_: "it is full")
    assert answer(connect(clients, serve(clients, tls)), b"") == b""
    assert answer(connect(clients, serve(clients, None)), b"").startswith(b"HTTP/1.0 503 ")


def test_a_client_that_is_ended_before_its_handshake_gets_none(tls: ssl.SSLContext) -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, ("10.0.0.1", 1))

    class Late:
        """Ends the connection while its plain socket is detached, and the other one not known yet."""

        def wrap_socket(self, plain: socket.socket, **options: Any) -> ssl.SSLSocket:
            wrapped = tls.wrap_socket(plain, **options)
            connection.end()
            return wrapped

    with theirs, pytest.raises(ConnectionAbortedError, match="it was ended"):
        connection.secure(Late())  # type: ignore[arg-type]
    connection.socket.close()


def test_a_network_that_fails_ends_one_connection(clients: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    server = serve(clients, None)
    assert answer(connect(clients, server), REQUEST.replace(b"/ ", b"/lost ")) == b""
    assert answer(connect(clients, server), REQUEST).endswith(b"\r\n\r\nhello")
    server.close()
    assert not failures
