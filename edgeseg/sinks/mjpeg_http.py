"""Answer the requests of the MJPEG page: the page, the stream, a snapshot and the statistics."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from importlib.resources import files
from typing import Protocol

from edgeseg.http.handler import Handler
from edgeseg.http.server import HttpServer

#: Bytes that the system holds back of a stream: what is in its buffers is the age of the image. Half a frame is enough
#: for the thread that sends; the system doubles it.
_SEND_BUFFER = 32 << 10
#: Seconds between two looks whether a frame has arrived.
_LOOK_S = 0.002

_BOUNDARY = "edgeseg-frame"
_PART_HEAD = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode()


class Feed(Protocol):
    """What the connections need from the object that has the frames.

    Attributes:
        stats: returns the content of ``/stats``; ``None`` where there is none.
    """

    stats: Callable[[], Mapping[str, object]] | None

    @property
    def closing(self) -> bool:
        """Whether no frame will come any more."""

    def watching(self) -> AbstractContextManager[Callable[[float], bytes | None]]:
        """Count as a watcher, and yield a function for the next JPEG; see ``MjpegServer.watching``."""


class FeedServer(HttpServer):
    """Serves the frames of a feed."""

    def __init__(self, host: str, port: int, feed: Feed) -> None:
        self.feed = feed
        super().__init__(host, port, _FeedHandler)


class _FeedHandler(Handler):
    server: FeedServer

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        routes = {
            "/": self._page,
            "/stream.mjpg": self._stream,
            "/snapshot.jpg": self._snapshot,
            "/stats": self._stats,
        }
        route = routes.get(self.path.partition("?")[0])
        if route is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            route()

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        own = f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
        policy = f"default-src 'none'; img-src 'self'; connect-src 'self'; {own}"
        page = files("edgeseg.sinks").joinpath("page.html").read_text(encoding="utf-8").replace("NONCE", nonce)
        self.send("text/html; charset=utf-8", page.encode(), {"Content-Security-Policy": policy})

    def _stats(self) -> None:
        stats = self.server.feed.stats
        self.send("application/json", json.dumps(dict(stats()) if stats else {}).encode())

    def _snapshot(self) -> None:
        with self.server.feed.watching() as next_jpeg:
            jpeg = next_jpeg(self.timeout)
        if jpeg is None:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "No frame came")
        else:
            self.send("image/jpeg", jpeg)

    def _stream(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if not self.start(f"multipart/x-mixed-replace; boundary={_BOUNDARY}", {}):
            return
        feed = self.server.feed
        with feed.watching() as next_jpeg:
            self.write(_PART_HEAD)
            while not feed.closing:
                jpeg = next_jpeg(1.0)
                if jpeg is not None:
                    # With the head of the next part: Chromium shows a part when it has that, else one frame late.
                    # So there is no Content-Length; the boundary ends a part.
                    self.write(jpeg + b"\r\n" + _PART_HEAD)
                    self._await_arrival()
                elif self._client_went():
                    return

    def _await_arrival(self) -> None:
        """Wait until the client's system has the frame, so that one is on the way and the next is the newest."""
        with self._client.sending():
            deadline = time.monotonic() + self.timeout
            while self._client.in_flight() and not self.server.feed.closing:
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
