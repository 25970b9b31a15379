"""Read a source on its own thread, so that the caller's ``read`` can be woken where OpenCV's cannot."""

from __future__ import annotations

import threading
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
    has not: the thread then releases the source on its own once OpenCV's timeout is over.
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
        self._thread.join(timeout=0.5)

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
