"""Read a source on its own thread, so that the caller's ``read`` can be woken where OpenCV's cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import cv2

from edgeseg.errors import EdgesegError, SourceLost
from edgeseg.sources.base import Captured, Source


class Stoppable(Source, Protocol):
    """A source for one thread: that thread calls ``close``, any other ``stop``."""

    def stop(self) -> None:
        """Request the end, without waiting: the next ``read`` returns None."""


class Detached:
    """A ``Source`` that can be closed while its ``read`` waits for a silent device or server.

    OpenCV cannot be woken in a read. So ``close`` returns when the thread has finished, or after half a second while it
    has not: the thread then releases the source on its own once OpenCV's timeout is over. A file has no server that is
    silent, and gets ten times as long: a thread inside a decoder when the interpreter ends crashes the process.
    """

    def __init__(self, source: Stoppable, *, newest: bool) -> None:
        """Start reading.

        Args:
            source: the source to read; used by this object's thread alone from now on.
            newest: a frame that was not requested is replaced by the next; otherwise it waits until it is requested.
        """
        self.name = source.name
        self.live = source.live
        self.fps = source.fps
        self._source = source
        self._newest = newest
        self._changed = threading.Condition()
        self._captured: Captured | None = None
        self._closed = False
        self._ended = False
        self._error: EdgesegError | None = None
        self._thread = threading.Thread(target=self._run, name=f"edgeseg source {source.name}", daemon=True)
        self._thread.start()

    @classmethod
    def opened(cls, name: str, open_it: Callable[[threading.Event], Stoppable]) -> Detached:
        """Open a source on a thread of its own and wait for it: Ctrl-C ends the wait, also for a silent server.

        Args:
            name: for messages.
            open_it: opens the source; the event tells it that nobody waits any more.
        """
        opening = _Opening(name, open_it)
        source = opening.wait()
        return cls(source, newest=source.live)

    @property
    def missing_frames(self) -> int:
        """The count of the source."""
        return self._source.missing_frames

    def read(self) -> Captured | None:
        """Wait for the newest or next frame and return it; None at the regular end and after ``close``.

        Raises:
            SourceLost: the source broke; raised after the last frame it delivered.
            InputError: a file of the source does not decode.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._captured is not None or self._ended or self._closed)
            captured, self._captured = self._captured, None
            self._changed.notify_all()
            if captured is None and self._error is not None and not self._closed:
                raise self._error
            return captured

    def close(self) -> None:
        """End the thread, and wake a caller that waits in ``read``."""
        with self._changed:
            self._closed = True
            self._captured = None
            self._changed.notify_all()
        self._source.stop()
        self._thread.join(timeout=0.5 if self.live else 5.0)

    def _run(self) -> None:
        # An unforeseen error must not look like the end of the video: the thread's traceback is on stderr.
        error: EdgesegError | None = SourceLost(f"'{self.name}': the thread that reads it failed.")
        try:
            while (captured := self._source.read()) is not None:
                with self._changed:
                    if not self._newest:
                        self._changed.wait_for(lambda: self._captured is None or self._closed)
                    if self._closed:
                        break
                    self._captured = captured
                    self._changed.notify_all()
            error = None
        except EdgesegError as known:
            error = known
        except cv2.error as native:
            error = SourceLost(f"'{self.name}': OpenCV failed in reading it: {native}")
        finally:
            self._source.close()
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()


class _Opening:
    """A source that is being opened on a thread, which closes it where nobody waits for it any more."""

    def __init__(self, name: str, open_it: Callable[[threading.Event], Stoppable]) -> None:
        self._open_it = open_it
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._abandoned = False
        self._source: Stoppable | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"edgeseg opening {name}", daemon=True)
        self._thread.start()

    def wait(self) -> Stoppable:
        try:
            # Signals are handled between two waits; a wait without limit has none of them on Windows.
            while not self._done.wait(0.2):
                pass
        except BaseException:
            with self._lock:
                self._abandoned = True
                self._stop.set()
                if self._source is not None:
                    self._source.close()
            raise
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._source is not None
        return self._source

    def _run(self) -> None:
        try:
            source = self._open_it(self._stop)
            with self._lock:
                if self._abandoned:
                    source.close()
                else:
                    self._source = source
        except BaseException as error:  # noqa: BLE001 - not handled here: the thread that waits raises it
            self._error = error
        finally:
            self._done.set()
