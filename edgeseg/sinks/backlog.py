"""Encode frames in a thread of their own, with at most two waiting: the loop never waits for a slow encoder."""

from __future__ import annotations

import queue
import threading
from typing import Any, Protocol

from edgeseg.errors import EdgesegError, SinkLost
from edgeseg.sinks.base import DiskWatch
from edgeseg.video.encode import failures

#: Seconds that the end may take: frames that wait after that are dropped.
CLOSING_S = 0.5
#: Seconds after which an encoder that takes no frame counts as hung.
STALL_S = 20.0


class _Encoder(Protocol):
    def add(self, frame: Any, ticks: int, lasts: int | None) -> bool: ...

    def close(self) -> None: ...


class Backlog:
    """Hands frames to an encoder, which it owns and closes.

    Args:
        encoder: used by the thread alone.
        watch: asked before every frame whether the disk has room.
        shown: the file, for messages.
        live: a frame that finds two waiting is dropped; otherwise the caller waits.

    Attributes:
        done: frames that were written.
        dropped: frames that found two waiting, or that waited when the end came.
        closed: whether the file is finished.
    """

    def __init__(self, encoder: _Encoder, watch: DiskWatch, shown: str, *, live: bool) -> None:
        self.done = 0
        self.dropped = 0
        self.closed = False
        self._encoder = encoder
        self._watch = watch
        self._shown = shown
        self._live = live
        self._error: SinkLost | None = None
        self._told = False
        self._hurry = threading.Event()
        self._frames: queue.Queue[tuple[Any, int, int | None] | None] = queue.Queue(maxsize=2)
        self._thread = threading.Thread(target=self._run, name="edgeseg-encoder", daemon=True)
        self._thread.start()

    def put(self, frame: Any, ticks: int, lasts: int | None = None) -> None:
        """Hand over a frame of the encoder, shown from ``ticks`` on, and for ``lasts`` where nothing follows.

        Raises:
            SinkLost: a frame before it could not be written.
        """
        self._raise()
        try:
            self._frames.put((frame, ticks, lasts), block=not self._live, timeout=STALL_S)
        except queue.Full:
            self.dropped += 1
            if not self._live:
                raise SinkLost(f"'{self._shown}': the encoder took no frame for {STALL_S:g} s.") from None

    def close(self) -> None:
        """Write what waits, as far as ``CLOSING_S`` allows, and finish the file; may be called twice.

        Raises:
            SinkLost: it cannot be finished, unless ``put`` has said so.
        """
        if self.closed:
            return
        self.closed = True
        timer = threading.Timer(CLOSING_S, self._hurry.set)
        timer.daemon = True
        timer.start()
        self._frames.put(None)
        self._thread.join()
        timer.cancel()
        if not self._told:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            self._told = True
            raise self._error

    def _run(self) -> None:
        while (item := self._frames.get()) is not None:
            if self._error is not None or self._hurry.is_set():
                self.dropped += 1
                continue
            frame, ticks, lasts = item
            try:
                self._watch.check(frame.width * frame.height * 3)
                self.done += self._encoder.add(frame, ticks, lasts)
            except EdgesegError as error:
                self._error = self._as_lost(error)
            except failures() as error:
                self._error = self._as_lost(error)
        try:
            self._encoder.close()
        except failures() as error:
            self._error = self._error or self._as_lost(error)

    def _as_lost(self, error: Exception) -> SinkLost:
        if isinstance(error, SinkLost):
            return error
        why = getattr(error, "strerror", None) or str(error)
        lost = SinkLost(f"'{self._shown}' cannot be written: {why}. What was written until then is in it.")
        lost.__cause__ = error
        return lost
