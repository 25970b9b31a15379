"""``connections``, ``server`` and ``handler`` against hostile clients, on real sockets of the MJPEG page."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.http import connections
from edgeseg.http.connections import MAX_CLIENTS, MAX_PER_ADDRESS, Connection, Connections
from edgeseg.http.handler import MAX_HEAD_BYTES
from edgeseg.http.server import CLIENT_THREAD
from edgeseg.sinks import MjpegServer

STATS = b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
STREAM = b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def connect(server: MjpegServer) -> Iterator[Callable[..., socket.socket]]:
    """A function that opens a connection and sends its bytes."""
    with ExitStack() as stack:

        def open_one(data: bytes = b"") -> socket.socket:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            client.sendall(data)
            return client

        yield open_one


def answer(client: socket.socket) -> bytes:
    """All that the server says until it closes."""
    said = b""
    while piece := client.recv(65536):
        said += piece
    return said


def threads() -> int:
    return sum(thread.name == CLIENT_THREAD for thread in threading.enumerate())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: ", STREAM], ids=["silent", "half a head", "never reads"])
def test_two_hundred_that_hang_keep_nobody_out(
    server: MjpegServer, connect: Callable[..., socket.socket], sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALLED_S", 0.0)  # of a client that takes nothing, at once instead of after 1 s
    large = np.zeros(2 << 20, np.uint8)  # a frame that does not fit into the buffers between two processes
    monkeypatch.setattr(cv2, "imencode", lambda *_: (True, large))
    tracemalloc.start()
    for _ in range(200):
        hanging = connect(sent)
        if sent == STREAM:
            _wait_until(lambda: server.watchers > 0)
            server.write(large, "")
    said = answer(connect(STATS))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert json.loads(said.partition(b"\r\n\r\n")[2]) == {}
    assert threads() <= MAX_CLIENTS
    # Idle clients take almost nothing; a stream the newest frame, and a frame that it is in the middle of.
    assert peak < ((MAX_PER_ADDRESS + 4) * 2 * large.nbytes if sent == STREAM else 4e6)
    if sent != STREAM:
        hanging.setblocking(False)
        with pytest.raises(BlockingIOError):  # the newest one that hangs is still connected: the oldest went
            hanging.recv(1)


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_request_that_comes_byte_by_byte_is_ended(
    connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.http.handler.REQUEST_TIMEOUT_S", 0.3)
    client = connect(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ConnectionError):
        while True:  # it would go on for ever
            client.sendall(b"X")
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /" + b"a" * 1_000_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n" + b"a" * 500_000, 413),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (MAX_HEAD_BYTES - 50) + b"\r\n\r\n", 200),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 200),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_a_request_that_is_too_large_is_told_so(
    connect: Callable[..., socket.socket], request_text: bytes, status: int
) -> None:
    client = connect()
    sender = threading.Thread(target=_send, args=(client, request_text))
    sender.start()
    assert answer(client).startswith(b"HTTP/1.0 %d " % status)
    client.close()
    sender.join()


def _send(client: socket.socket, data: bytes) -> None:
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it was refused before it had sent everything


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have one loopback address")
@pytest.mark.parametrize(
    ("hosts", "newcomer", "why"),
    [
        (("127.0.0.2", "127.0.0.3"), "127.0.0.4", b"there are 32 connections, the most that this page has"),
        (("127.0.0.2",), "127.0.0.2", b"this address has 16 connections, the most that one may have"),
    ],
)
def test_who_is_not_let_in_reads_why(server: MjpegServer, hosts: tuple[str, ...], newcomer: str, why: bytes) -> None:
    with ExitStack() as stack:

        def watch(host: str) -> socket.socket:
            place = ("127.0.0.1", server.port)
            client = stack.enter_context(socket.create_connection(place, 20, source_address=(host, 0)))
            client.sendall(STREAM)
            return client

        for host in hosts:
            for _ in range(MAX_PER_ADDRESS):
                watch(host)
        _wait_until(lambda: server.watchers == len(hosts) * MAX_PER_ADDRESS)
        for _ in range(3):  # every one, and not only while there is room for those who read slowly
            head, _, body = answer(watch(newcomer)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 503 ") and b"Retry-After: 5" in head
            assert body == b"The page is full: " + why + b". Try again later.\n"
        assert server.watchers == len(hosts) * MAX_PER_ADDRESS


def test_a_flood_of_refused_clients_is_bounded(
    server: MjpegServer, connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.http.server._MOST_REFUSED", 3)
    monkeypatch.setattr("edgeseg.http.server._REFUSED_S", 60.0)
    monkeypatch.setattr(Connections, "admit", lambda *_: "no")
    clients = [connect() for _ in range(8)]
    for client in clients:
        head = b""
        while b"Try again later" not in head:
            head += client.recv(1000)
    _wait_until(lambda: len(server._server._refused) == 3)
    clients[-1].shutdown(socket.SHUT_WR)  # it has read why
    _wait_until(lambda: len(server._server._refused) == 2)


class Clients:
    """Connections over pairs of sockets, from any address."""

    def __init__(self, stack: ExitStack) -> None:
        self.all = Connections()
        self._stack = stack

    def __call__(self, host: str) -> tuple[Connection, bool]:
        ours, theirs = (self._stack.enter_context(end) for end in socket.socketpair())
        theirs.setblocking(False)
        connection = Connection(ours, (host, 1))
        return connection, self.all.admit(connection) is None


@pytest.fixture
def client() -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(stack)


def _ended(connection: Connection) -> bool:
    try:
        connection.socket.send(b"x")
    except OSError:
        return True
    return False


def test_one_address_does_not_fill_the_page(client: Clients) -> None:
    first, *others = [client("10.0.0.1")[0] for _ in range(MAX_PER_ADDRESS)]
    watching, admitted = client("10.0.0.2")
    assert admitted and not _ended(first)
    assert client("10.0.0.1")[1]
    assert _ended(first) and not any(map(_ended, others)) and not _ended(watching)


def test_who_is_served_is_never_ended_for_a_newcomer(client: Clients) -> None:
    watching = [client(f"10.0.0.{number}")[0] for number in range(MAX_CLIENTS)]
    for connection in watching:
        connection.asked()
    assert not client("10.0.1.1")[1]
    with watching[5].sending():  # for less than a second
        assert not client("10.0.1.1")[1]
    client.all.remove(watching[7])
    assert client("10.0.1.1")[1]
    assert not any(map(_ended, watching))


def test_who_takes_nothing_goes_like_who_asks_nothing(client: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    served: list[Any] = [client(f"10.0.0.{number}")[0] for number in range(MAX_CLIENTS)]
    for connection in served[1:]:
        connection.asked()
    now[0] += 0.1
    with served[3].sending():
        now[0] += connections.STALLED_S
        with served[4].sending():
            now[0] += connections.STALLED_S / 2
            assert client("10.0.1.1")[1] and _ended(served[0])  # it was there before and never asked
            assert client("10.0.1.2")[1] and _ended(served[3])
            assert client("10.0.1.3")[1] and not _ended(served[4])  # the first newcomer went: it asked nothing either
