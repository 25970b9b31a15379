"""Show frames on a page in the browser: motion JPEG over HTTP, from the standard library's server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.sinks.mjpeg_http import FeedServer

_log = logging.getLogger(__name__)


class MjpegServer:
    """Serves the newest frame: ``/`` a page, ``/stream.mjpg``, ``/snapshot.jpg``, ``/stats`` as JSON.

    A frame is encoded once, in ``write``, and only while somebody watches. Every client gets the newest frame when it
    has the one before, so a slow client misses frames and nothing queues up; one that takes nothing for five seconds
    is dropped. A request has five seconds and 16 KiB, and no body. ``HttpServer`` says how many clients there may
    be, and which hosts they may name.

    There is no password.

    Args:
        host: address to listen on. ``"127.0.0.1"``: this machine only; ``"0.0.0.0"``: whoever reaches it.
        port: 0 picks a free one, see ``url``.
        quality: of the JPEG, 1 to 100.
        stats: called for each ``/stats``, from a thread of the server; its result goes through ``json.dumps``. The page
            shows its top-level numbers and texts. May be set later, as an attribute.

    Raises:
        InputError: the port is in use or not allowed, the host is not this machine's, or the quality is out of range.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        quality: int = 80,
        stats: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        if not 1 <= quality <= 100:
            raise InputError(f"the JPEG quality must be 1 to 100, got {quality}.")
        self.stats = stats
        self._quality = quality
        self._changed = threading.Condition()
        self._watchers = 0
        self._jpeg: bytes | None = None
        self._number = 0
        self._closing = False
        self._server = FeedServer(host, port, self)
        self.port, self.url = self._server.port, self._server.url
        if self._server.is_public:
            _log.warning("anyone who can reach %s can watch the camera; there is no password.", self.url)
        self._server.start()

    @property
    def watchers(self) -> int:
        """The number of clients that wait for frames now."""
        return self._watchers

    @property
    def waited_for(self) -> bool:
        """Whether a client watches and has no image yet."""
        return self._watchers > 0 and self._jpeg is None

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Show a frame ``(h, w, 3)`` uint8 BGR to all clients that watch; the stream ignores its ``name``."""
        if not self._watchers or self._closing:
            return
        _, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        with self._changed:
            if self._watchers:  # else the last one left meanwhile, and the next must not see an old image first
                self._jpeg = data.tobytes()
                self._number += 1
                self._changed.notify_all()

    def close(self) -> None:
        """End every connection and thread, within two seconds; may be called twice."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._server.close()

    @contextmanager
    def watching(self) -> Iterator[Callable[[float], bytes | None]]:
        """Count as a watcher, and yield a function that returns the next JPEG that this watcher has not had.

        The function waits at most that many seconds; it returns None when no frame came, or the server closes.
        """
        seen = 0

        def next_jpeg(timeout_s: float) -> bytes | None:
            nonlocal seen
            with self._changed:
                self._changed.wait_for(lambda: self._closing or (self._jpeg and self._number > seen), timeout_s)
                if self._closing or self._number <= seen:
                    return None
                seen = self._number
                return self._jpeg

        with self._changed:
            self._watchers += 1
        try:
            yield next_jpeg
        finally:
            with self._changed:
                self._watchers -= 1
                if not self._watchers:
                    self._jpeg = None

    @property
    def closing(self) -> bool:
        """Whether ``close`` was called."""
        return self._closing
