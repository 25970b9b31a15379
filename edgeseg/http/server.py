"""Listen for browsers: one thread for each connection, counted, ended for a newcomer, and gone when it is closed."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from socketserver import TCPServer
from typing import Any

from edgeseg.errors import InputError
from edgeseg.http.connections import Connection, Connections
from edgeseg.http.handler import REQUEST_TIMEOUT_S, Handler

_log = logging.getLogger(__name__)

#: Name of the threads of clients, and the beginning of that of the one that listens.
CLIENT_THREAD = "edgeseg-http-client"

_FULL = (
    b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)

#: Refused clients that are given time to read why, seconds that each has, and bytes that are read of it at a time.
_MOST_REFUSED, _REFUSED_S, _REFUSED_BYTES = 64, 1.0, 1 << 16


class HttpServer(TCPServer):
    """Serves one page in threads of its own, from its construction until ``close``.

    There are at most 32 clients, 16 of one address; where a newcomer finds it full, the client goes that has been idle
    longest: that asked for nothing, or has taken nothing for a second. Where none is idle, the newcomer is told so
    (503), or over TLS closed. On a loopback address, requests that name another host are refused, so that a web page in
    the same machine's browser cannot get in through a name of its own (DNS rebinding).

    Args:
        host: address to listen on. ``"127.0.0.1"``: this machine only; ``"0.0.0.0"``: whoever reaches it.
        port: 0 picks a free one, see ``port``.
        handler: answers the requests.
        tls: makes it ``https``.

    Attributes:
        port: on which it listens.
        is_public: whether other machines reach it.
        allowed_hosts: host names that a request may use for this server; ``None`` where it listens for other machines.
        url: the address to open in a browser.

    Raises:
        InputError: the port is in use or not allowed, or the host is not this machine's.
    """

    allow_reuse_address = os.name != "nt"  # on Windows it would share a port that is in use
    request_queue_size = 256  # of a burst; where the queue is full, a client tries again after a second

    def __init__(self, host: str, port: int, handler: type[Handler], *, tls: ssl.SSLContext | None = None) -> None:
        if not 0 <= port <= 65535:
            raise InputError(f"a port must be 0 to 65535, got {port}.")
        self._connections = Connections()
        self._refused: deque[tuple[socket.socket, float]] = deque()
        self._handler = handler
        self._tls = tls
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, *_, where = addresses[0]
            super().__init__(where, handler)  # type: ignore[arg-type]
        except OSError as error:
            raise InputError(_cannot_listen(host, port, error)) from error
        address, self.port = self.socket.getsockname()[:2]
        ip = ipaddress.ip_address(address)
        self.is_public = not ip.is_loopback
        self.allowed_hosts = (
            None if self.is_public else frozenset({"localhost", "127.0.0.1", "::1", address, host.lower()})
        )
        shown = _outer_name() if ip.is_unspecified else f"[{address}]" if ip.version == 6 else address
        self.url = f"{'http' if tls is None else 'https'}://{shown}:{self.port}/"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="edgeseg-http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and end every connection and thread, within two seconds."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        deadline_s = time.monotonic() + 1.5
        self.server_close()
        while self._refused:
            self.shutdown_request(self._refused.popleft()[0])
        self._connections.end_all(deadline_s)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; refuse a connection above the limits where no other one is idle."""
        connection = Connection(request, client_address)
        connection.thread = threading.Thread(target=self._process, args=(connection,), name=CLIENT_THREAD, daemon=True)
        why = self._connections.admit(connection)
        if why is None:
            connection.thread.start()
        else:
            self._refuse(request, why)

    def service_actions(self) -> None:
        """Close the refused clients that have read why, ten times a second."""
        for _ in range(len(self._refused)):
            request, until_s = self._refused.popleft()
            try:
                left = time.monotonic() < until_s and bool(request.recv(_REFUSED_BYTES))
            except BlockingIOError:
                left = True
            except OSError:
                left = False
            if left:
                self._refused.append((request, until_s))
            else:
                self.shutdown_request(request)

    def _refuse(self, request: socket.socket, why: str) -> None:
        """Say why a client is not let in; a connection that is closed with its request unread would lose the answer.

        Over TLS nothing can be said before a handshake, which is what a full server has no thread for: it is closed.
        """
        if self._tls is not None:
            _log.debug("a client was not let in: %s", why)
            self.shutdown_request(request)
            return
        body = f"The page is full: {why}. Try again later.\n".encode()
        request.setblocking(False)
        with suppress(OSError):
            request.send(_FULL % (len(body), body))
            request.shutdown(socket.SHUT_WR)
        self._refused.append((request, time.monotonic() + _REFUSED_S))
        if len(self._refused) > _MOST_REFUSED:
            self.shutdown_request(self._refused.popleft()[0])

    def _process(self, connection: Connection) -> None:
        try:
            if self._tls is not None:
                connection.socket.settimeout(REQUEST_TIMEOUT_S)
                connection.secure(self._tls)
            self._handler(connection, self)
        except OSError as error:  # also of the network: no route to host
            _log.debug("client %s left: %s", connection.host, error)
        finally:
            self._connections.remove(connection)
            self.shutdown_request(connection.socket)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone; also where it is no host at all, which listening will say."""
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return True
    return ipaddress.ip_address(addresses[0][4][0]).is_loopback


def own_addresses() -> list[str]:
    """Return the addresses by which other machines may reach this one, the likeliest first; none where it is alone.

    Those of IPv6 only where there are no others: a machine has several, and takes new ones every day.
    """
    found: list[str] = []
    # No packet is sent: connect() of a datagram socket only asks the routing table.
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((elsewhere, 9))
            found.append(asked.getsockname()[0])
    with suppress(OSError):
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)]
    usable = [ip for address in found if not (ip := ipaddress.ip_address(address.partition("%")[0])).is_loopback]
    usable = [ip for ip in usable if not ip.is_link_local]
    return list(dict.fromkeys(str(ip) for ip in usable if ip.version == 4 or all(one.version == 6 for one in usable)))


def _outer_name() -> str:
    """Return how other machines may call this one: by its address, as few networks know its name."""
    address = next(iter(own_addresses()), socket.gethostname())
    return f"[{address}]" if ":" in address else address


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return (
            f"'{host}' is no address of this machine; accepted: 127.0.0.1 (nobody else gets in), 0.0.0.0, or its own."
        )
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; give another one, or 0 for a free one."
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that this user does not have; give one from 1024 on, or 0 for a free one."
    return f"cannot listen on {host}, port {port}: {error.strerror}."
