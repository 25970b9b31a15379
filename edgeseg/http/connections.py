"""Count the connections of a page, and end the one that has been idle longest when it is full."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_log = logging.getLogger(__name__)

#: Connections in all. Each is a thread, and half a megabyte of the system's buffers while it streams.
MAX_CLIENTS = 32

#: Connections of one address, so that one machine does not keep the others out. A proxy counts as one machine.
MAX_PER_ADDRESS = 16

#: The request of Linux for what a socket has not delivered; other systems have none that Python knows.
_SIOCOUTQ = 0x5411 if sys.platform.startswith("linux") else None

#: Seconds that a client takes nothing of what is sent to it before it may be ended for a newcomer.
STALLED_S = 1.0


class Connection:
    """One client: idle while it owes the server its request, or does not take what is sent to it.

    Args:
        client: the accepted socket.
        address: of the client, as ``accept`` returned it.
    """

    def __init__(self, client: socket.socket, address: tuple[Any, ...]) -> None:
        self.socket = client
        self.address = address
        self.thread: threading.Thread | None = None
        self._ended = False
        self._asked = False
        self._waits_since: float | None = time.monotonic()

    @property
    def host(self) -> str:
        """The address without the port."""
        return str(self.address[0])

    def idle_since(self) -> float | None:
        """Return the monotonic time since when the server waits for this client; ``None`` where it may not be ended."""
        waits_since = self._waits_since
        if waits_since is None or (self._asked and time.monotonic() - waits_since < STALLED_S):
            return None
        return waits_since

    def asked(self) -> None:
        """Note that the request arrived: the server owes the answer now."""
        self._asked, self._waits_since = True, None

    def in_flight(self) -> int:
        """Return the bytes that were sent and that the client's system has not acknowledged; 0 where nothing says."""
        if _SIOCOUTQ is None:
            return 0
        import fcntl

        try:
            return int.from_bytes(fcntl.ioctl(self.socket, _SIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:  # it was closed
            return 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count as idle if what is sent meanwhile is not taken."""
        self._waits_since = time.monotonic()
        try:
            yield
        finally:
            self._waits_since = None

    def secure(self, tls: ssl.SSLContext) -> None:
        """Speak TLS from now on.

        Raises:
            OSError: the client does not, left, or was ended.
        """
        # The plain socket is detached, so that ``end`` needs the new one before the handshake, which may hang.
        secured = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.socket = secured
        if self._ended:
            raise ConnectionAbortedError("it was ended")
        secured.do_handshake()

    def end(self) -> None:
        """Shut the socket down, which wakes a thread that is blocked on it."""
        self._ended = True
        try:
            # Not an SSLSocket's own: that takes the session from under the thread that reads.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError as error:
            _log.debug("already closed: %s", error)


class Connections:
    """The open connections of one server."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._lock = threading.Lock()

    def admit(self, newcomer: Connection) -> str | None:
        """Add a connection; where there are too many, the one that has been idle longest goes first.

        Returns:
            Why not, where there are too many and none is idle.
        """
        with self._lock:
            rivals, why = [one for one in self._open if one.host == newcomer.host], ""
            if len(rivals) >= MAX_PER_ADDRESS:
                why = f"this address has {MAX_PER_ADDRESS} connections, the most that one may have"
            else:
                rivals = list(self._open) if len(self._open) >= MAX_CLIENTS else []
                why = f"there are {MAX_CLIENTS} connections, the most that this page has"
            idle = {one: since for one in rivals if (since := one.idle_since()) is not None}
            if rivals and not idle:
                return why
            oldest = min(idle, key=lambda one: idle[one], default=None)
            if oldest is not None:
                self._open.discard(oldest)
            self._open.add(newcomer)
        if oldest is not None:
            oldest.end()
            if oldest.thread is not None:
                oldest.thread.join(1.0)  # so that a flood does not make threads faster than they end
        return None

    def remove(self, connection: Connection) -> None:
        """Forget a connection that was closed; one that was ended for a newcomer is forgotten already."""
        with self._lock:
            self._open.discard(connection)

    def end_all(self, deadline_s: float) -> None:
        """End every connection, and wait for their threads until ``deadline_s`` (monotonic)."""
        with self._lock:
            open_now = list(self._open)
        for connection in open_now:
            connection.end()
        for connection in open_now:
            if connection.thread is not None:
                connection.thread.join(max(0.0, deadline_s - time.monotonic()))
