"""Handle a connection of a page: its request within bounds of size and time, the headers of answers, and refusals."""

from __future__ import annotations

import io
import logging
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import Protocol

from edgeseg._internal.text import escaped
from edgeseg.http.connections import Connection

_log = logging.getLogger(__name__)

#: Seconds after which a client that neither sends nor takes anything is dropped.
CLIENT_TIMEOUT_S = 5.0

#: Seconds that a client has for its whole request: a byte now and then does not hold a connection.
REQUEST_TIMEOUT_S = 5.0

#: Seconds that a client has for the body of a request, where there is one: 64 MB at 2 MB/s.
BODY_TIMEOUT_S = 32.0

#: Bytes of the request line and the headers together. A browser sends the cookies of every server on this host.
MAX_HEAD_BYTES = 16 << 10

#: How much of a refused request is read, and for how many seconds: closing at once would reset the connection before
#: the client has read why.
_DRAINED_BYTES = 1 << 20
_DRAINING_S = 1.0

#: Bytes of a body that are sent at a time.
_PIECE = 1 << 18

_HEAD_END = re.compile(rb"\n\r?\n")

HEADERS = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        # Another site's page may neither read nor show what the camera sees.
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
)


class Served(Protocol):
    """What a handler needs of its server.

    Attributes:
        allowed_hosts: host names that a request may use for this server; ``None`` where any is allowed.
    """

    allowed_hosts: frozenset[str] | None


class Handler(BaseHTTPRequestHandler):
    """Answers one request. A subclass has ``do_GET``, and ``do_POST`` with ``most_body`` where requests have a body."""

    server: Served  # type: ignore[assignment]
    server_version = "edgeseg"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_S  # of each read and write

    def __init__(self, client: Connection, server: Served) -> None:
        self._client = client
        self._body = b""
        super().__init__(client.socket, client.address, server)  # type: ignore[arg-type]

    def handle(self) -> None:
        """Read a request, and answer it."""
        head = self._read_head()
        if head:
            self._client.asked()
            self.rfile = io.BytesIO(head)
            self.handle_one_request()

    def parse_request(self) -> bool:
        """Refuse what this server never answers, before anything is done for it."""
        if not super().parse_request():
            return False
        if not self._host_is_allowed():
            self.refuse(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to localhost only")
            return False
        length = self.headers.get("Content-Length", "0").strip()
        most = self.most_body() if self.command == "POST" else 0
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or len(length) > 12 or int(length) > most:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request has at most {most} bytes of body here")
            return False
        return True

    def most_body(self) -> int:
        """Return how many bytes the body of this request may have."""
        return 0

    def body(self) -> bytes:
        """Return the body of the request.

        Raises:
            TimeoutError: it does not come in time.
            ConnectionError: the client left.
        """
        length = int(self.headers.get("Content-Length", "0"))
        deadline = time.monotonic() + BODY_TIMEOUT_S
        body = bytearray(self._body[:length])
        while len(body) < length:
            self.connection.settimeout(min(self.timeout, max(1e-3, deadline - time.monotonic())))
            piece = self.connection.recv(min(_PIECE, length - len(body)))
            if not piece:
                raise ConnectionError("it left within its request")
            body += piece
        self.connection.settimeout(self.timeout)
        return bytes(body)

    def refuse(self, status: HTTPStatus, message: str | None = None) -> None:
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

    def do_HEAD(self) -> None:
        """Answer as GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer a request."""
        raise NotImplementedError

    def start(self, content_type: str, headers: Mapping[str, str]) -> bool:
        """Send the head of a response; return whether a body is wanted."""
        self.send_response(HTTPStatus.OK)
        for key, value in {"Content-Type": content_type, **HEADERS, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        return self.command != "HEAD"

    def send(self, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response."""
        if self.start(content_type, {"Content-Length": str(len(body)), **(headers or {})}):
            self.write(body)

    def write(self, data: bytes) -> None:
        """Send a part of a body."""
        for start in range(0, len(data), _PIECE):
            with self._client.sending():  # the time that a socket has is for all of a call
                self.wfile.write(memoryview(data)[start : start + _PIECE])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log a request where somebody looks for it."""
        _log.debug("%s %s", self.address_string(), escaped(format % args))

    def _read_head(self) -> bytes:
        """Return the request line and the headers; nothing where the client left, or was refused."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        head, seen = bytearray(), 0
        while not (end := _HEAD_END.search(head, max(0, seen - 2))):  # it may have begun in the piece before
            if len(head) > MAX_HEAD_BYTES:
                self.requestline = self.request_version = self.command = ""  # send_error reads them
                long_line = b"\n" not in head
                self.refuse(
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
        self._body = bytes(head[end.end() :])
        return bytes(head)

    def _host_is_allowed(self) -> bool:
        allowed = self.server.allowed_hosts
        host = self.headers.get("Host", "").strip().lower()
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        return allowed is None or name in allowed
