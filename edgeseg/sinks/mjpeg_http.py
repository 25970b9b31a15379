"""Handle the connections of the MJPEG page: requests, responses and refusals."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from socketserver import TCPServer
from typing import Any, Protocol

from edgeseg._internal.text import escaped
from edgeseg.sinks.connections import Connection, Connections

_log = logging.getLogger(__name__)

#: Seconds after which a client that neither sends nor takes anything is dropped.
CLIENT_TIMEOUT_S = 5.0

#: Seconds that a client has for its whole request: a byte now and then does not hold a connection.
REQUEST_TIMEOUT_S = 5.0

#: Bytes of the request line and the headers together. A browser sends the cookies of every server on this host.
MAX_HEAD_BYTES = 16 << 10

#: How much of a refused request is read, and for how many seconds: closing at once would reset the connection before
#: the client has read why.
_DRAINED_BYTES = 1 << 20
_DRAINING_S = 1.0

_FULL = (
    b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)
_HEAD_END = re.compile(rb"\n\r?\n")

#: Refused clients that are given time to read why, and seconds that each has.
_MOST_REFUSED, _REFUSED_S = 64, 1.0

#: Bytes that the system holds back of a stream: what is in its buffers is the age of the image. Half a frame is enough
#: for the thread that sends; the system doubles it.
_SEND_BUFFER = 32 << 10
#: Seconds between two looks whether a frame has arrived.
_LOOK_S = 0.002

_BOUNDARY = "edgeseg-frame"
_PART_HEAD = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Another site's page may neither read nor show what the camera sees.
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Feed(Protocol):
    """What the connections need from the object that has the frames.

    Attributes:
        stats: returns the content of ``/stats``; ``None`` where there is none.
    """

    stats: Callable[[], Mapping[str, object]] | None

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Host names that a request may use for this server; ``None`` where any is allowed."""

    @property
    def closing(self) -> bool:
        """Whether no frame will come any more."""

    def watching(self) -> AbstractContextManager[Callable[[float], bytes | None]]:
        """Count as a watcher, and yield a function for the next JPEG; see ``MjpegServer.watching``."""


class HttpServer(TCPServer):
    """One thread per connection, as ``ThreadingTCPServer`` has; but counted, and ended when the server is closed."""

    allow_reuse_address = os.name != "nt"  # on Windows it would share a port that is in use
    request_queue_size = 256  # of a burst; where the queue is full, a client tries again after a second

    def __init__(self, host: str, port: int, sink: Feed) -> None:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, address = addresses[0]
        self.sink = sink
        self._connections = Connections()
        self._refused: deque[tuple[socket.socket, float]] = deque()
        super().__init__(address, _Handler)  # type: ignore[arg-type]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; refuse a connection above the limits where no other one is idle."""
        connection = Connection(request, client_address)
        connection.thread = threading.Thread(
            target=self._process, args=(connection,), name="edgeseg-mjpeg-client", daemon=True
        )
        why = self._connections.admit(connection)
        if why is None:
            connection.thread.start()
        else:
            self._refuse(request, why)

    def _refuse(self, request: socket.socket, why: str) -> None:
        """Say why a client is not let in; a connection that is closed with its request unread would lose the answer."""
        body = f"The page is full: {why}. Try again later.\n".encode()
        request.setblocking(False)
        with suppress(OSError):
            request.send(_FULL % (len(body), body))
            request.shutdown(socket.SHUT_WR)
        self._refused.append((request, time.monotonic() + _REFUSED_S))
        if len(self._refused) > _MOST_REFUSED:
            self.shutdown_request(self._refused.popleft()[0])

    def service_actions(self) -> None:
        """Close the refused clients that have read why, ten times a second."""
        for _ in range(len(self._refused)):
            request, until_s = self._refused.popleft()
            try:
                left = time.monotonic() < until_s and bool(request.recv(_DRAINED_BYTES // 16))
            except BlockingIOError:
                left = True
            except OSError:
                left = False
            if left:
                self._refused.append((request, until_s))
            else:
                self.shutdown_request(request)

    def _process(self, connection: Connection) -> None:
        try:
            _Handler(connection, self)
        except (ConnectionError, TimeoutError) as error:
            _log.debug("client %s left: %s", connection.host, error)
        finally:
            self._connections.remove(connection)
            self.shutdown_request(connection.socket)

    def close_all(self, deadline_s: float) -> None:
        """Stop listening, end every connection, and wait for their threads until ``deadline_s`` (monotonic)."""
        self.server_close()
        while self._refused:
            self.shutdown_request(self._refused.popleft()[0])
        self._connections.end_all(deadline_s)


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    server_version = "edgeseg"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_S  # of each read and write

    def __init__(self, client: Connection, server: HttpServer) -> None:
        self._client = client
        super().__init__(client.socket, client.address, server)

    def handle(self) -> None:
        head = self._read_head()
        if head:
            self._client.asked()
            self.rfile = io.BytesIO(head)
            self.handle_one_request()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.headers.get("Content-Length", "0").strip() != "0" or "Transfer-Encoding" in self.headers:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "A request has no body here")
            return False
        return True

    def _read_head(self) -> bytes:
        """Return the request line and the headers; nothing where the client left, or was refused."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        head, seen = bytearray(), 0
        while not _HEAD_END.search(head, max(0, seen - 2)):  # the end may have begun in the piece before
            if len(head) > MAX_HEAD_BYTES:
                self.requestline = self.request_version = self.command = ""  # send_error reads them
                long_line = b"\n" not in head
                self._refuse(
                    HTTPStatus.REQUEST_URI_TOO_LONG if long_line else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                )
                return b""
            self.connection.settimeout(max(1e-3, deadline - time.monotonic()))
            piece = self.connection.recv(MAX_HEAD_BYTES + 1 - len(head))
            if not piece:
                return b""
            seen = len(head)
            head += piece
        self.connection.settimeout(self.timeout)
        return bytes(head)

    def _refuse(self, status: HTTPStatus, message: str | None = None) -> None:
        """Send an error to a client that may still be sending, and let it read that."""
        self.send_error(status, message)
        with suppress(OSError):  # the client left, or was ended for a newcomer
            self.connection.shutdown(socket.SHUT_WR)
        deadline, left = time.monotonic() + _DRAINING_S, _DRAINED_BYTES
        while left > 0 and (remaining_s := deadline - time.monotonic()) > 0:
            self.connection.settimeout(remaining_s)
            piece = self.connection.recv(1 << 16)
            if not piece:
                return
            left -= len(piece)

    def do_GET(self) -> None:
        routes = {
            "/": self._page,
            "/stream.mjpg": self._stream,
            "/snapshot.jpg": self._snapshot,
            "/stats": self._stats,
        }
        route = routes.get(self.path.partition("?")[0])
        if not self._host_is_allowed():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to localhost only")
        elif route is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            route()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _host_is_allowed(self) -> bool:
        allowed = self.server.sink.allowed_hosts
        host = self.headers.get("Host", "").strip().lower()
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        return allowed is None or name in allowed

    def _start(self, content_type: str, headers: Mapping[str, str]) -> bool:
        """Send the head of a response; return whether a body is wanted."""
        self.send_response(HTTPStatus.OK)
        for key, value in {"Content-Type": content_type, **_HEADERS, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        return self.command != "HEAD"

    def _send(self, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        if self._start(content_type, {"Content-Length": str(len(body)), **(headers or {})}):
            self._write(body)

    def _write(self, data: bytes) -> None:
        with self._client.sending():
            self.wfile.write(data)

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        own = f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
        policy = f"default-src 'none'; img-src 'self'; connect-src 'self'; {own}"
        page = files("edgeseg.sinks").joinpath("page.html").read_text(encoding="utf-8").replace("NONCE", nonce)
        self._send("text/html; charset=utf-8", page.encode(), {"Content-Security-Policy": policy})

    def _stats(self) -> None:
        stats = self.server.sink.stats
        self._send("application/json", json.dumps(dict(stats()) if stats else {}).encode())

    def _snapshot(self) -> None:
        with self.server.sink.watching() as next_jpeg:
            jpeg = next_jpeg(self.timeout)
        if jpeg is None:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "No frame came")
        else:
            self._send("image/jpeg", jpeg)

    def _stream(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if not self._start(f"multipart/x-mixed-replace; boundary={_BOUNDARY}", {}):
            return
        sink = self.server.sink
        with sink.watching() as next_jpeg:
            self._write(_PART_HEAD)
            while not sink.closing:
                jpeg = next_jpeg(1.0)
                if jpeg is not None:
                    # With the head of the next part: Chromium shows a part when it has that, else one frame late.
                    # So there is no Content-Length; the boundary ends a part.
                    self._write(jpeg + b"\r\n" + _PART_HEAD)
                    self._await_arrival()
                elif self._client_went():
                    return

    def _await_arrival(self) -> None:
        """Wait until the client's system has the frame, so that one is on the way and the next is the newest."""
        with self._client.sending():
            deadline = time.monotonic() + self.timeout
            while self._client.in_flight() and not self.server.sink.closing:
                # The count stays after a reset.
                if error := self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise ConnectionError(os.strerror(error))
                if time.monotonic() > deadline:
                    raise TimeoutError("it takes nothing")
                time.sleep(_LOOK_S)

    def _client_went(self) -> bool:
        """Return whether a client hung up while there was no frame to detect it with."""
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(self.timeout)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        _log.debug("%s %s", self.address_string(), escaped(format % args))
