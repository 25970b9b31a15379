"""A source read on its own thread: the caller's ``read`` can be woken where OpenCV's cannot."""

from __future__ import annotations

import threading
from typing import Protocol

import cv2

from edgeseg.errors import EdgesegError, SourceLost
from edgeseg.sources.base import Captured, Source


class Stoppable(Source, Protocol):
    """A source for one thread: that thread calls ``close``, any other ``stop``."""

    def stop(self) -> None:
        """Ask for the end, without waiting: the next ``read`` gives None."""


class Detached:
    """A ``Source`` that can be closed while its ``read`` waits for a device or server that says nothing.

    OpenCV cannot be woken in a read. So ``close`` returns when the thread is through, or after half a second without
    it: then the thread lets go on its own once OpenCV's timeout is over.
    """

    def __init__(self, source: Stoppable, *, newest: bool) -> None:
        """Start to read.

        Args:
            source: what is read; by this thread alone from now on.
            newest: a frame that was not asked for is replaced by the next; otherwise it waits to be asked for.
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
        """As the source counts them."""
        return self._source.missing_frames

    def read(self) -> Captured | None:
        """The newest or next frame, waited for; None at the regular end and after ``close``.

        Raises:
            SourceLost: the source broke; after the last frame it gave.
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
        """End the thread, and wake who waits in ``read``."""
        with self._changed:
            self._closed = True
            self._captured = None
            self._changed.notify_all()
        self._source.stop()
        self._thread.join(timeout=0.5)

    def _run(self) -> None:
        # What nobody foresaw must not look like the end of the video: the thread's traceback is on stderr.
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
