"""Read a live source as it comes, and open it again with growing pauses when it is lost."""

from __future__ import annotations

import logging
import threading
import time

import cv2

from edgeseg._internal.text import counted
from edgeseg.errors import InputError, SourceLost
from edgeseg.sources.base import Captured
from edgeseg.sources.devices import Device
from edgeseg.sources.opencv import stated_fps

_log = logging.getLogger("edgeseg.sources")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0


class Stream:
    """A camera or network stream as a ``Source``, for one thread: a blocked ``read`` is not woken here.

    A live source has no regular end: one that stops is lost. Frames whose image is damaged are skipped, and count in
    the index.
    """

    live = True
    missing_frames = 0

    def __init__(self, device: Device, *, reconnect_s: float | None, timeout_s: float) -> None:
        """Open the device; where ``reconnect_s`` is given, wait that long for it.

        Args:
            device: the device to open, and to open again.
            reconnect_s: how long to try to open it again without a frame; None: do not try.
            timeout_s: how long a camera that is there may deliver no frame until it counts as lost.

        Raises:
            InputError: it cannot be opened.
        """
        self.name = device.name
        self._device = device
        self._reconnect_s = reconnect_s
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._next_index = 0
        self._capture: cv2.VideoCapture | None = None
        self._last_s = time.perf_counter()  # when the last frame came
        self._pause_s = 0.0  # before the next attempt to open it; 0 as long as frames come
        while self._capture is None:
            self._try_to_open()
        self._pause_s = 0.0
        self.fps = stated_fps(self._capture)

    def read(self) -> Captured | None:
        """Return the next frame; None after ``close``.

        Raises:
            SourceLost: no frame came for ``reconnect_s``.
        """
        while not self._closed.is_set():
            if self._capture is None:
                self._reconnect()
            elif self._capture.grab():
                captured_s = time.perf_counter()
                self._came(captured_s)
                index, self._next_index = self._next_index, self._next_index + 1
                ok, image_bgr = self._capture.retrieve()
                if ok:
                    name = f"{self._device.stem}_{index:06d}"
                    return Captured(index=index, name=name, image_bgr=image_bgr, captured_s=captured_s)  # type: ignore[arg-type]
            elif self._device.may_recover() and time.perf_counter() - self._last_s < self._timeout_s:
                self._closed.wait(0.01)  # a driver that fails at once is not asked a million times
            elif not self._closed.is_set():
                self._lose()
        return None

    def stop(self) -> None:
        """Request the end; callable from any thread."""
        self._closed.set()

    def close(self) -> None:
        """Release the device; only for the thread that reads."""
        self.stop()
        self._release()

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _came(self, now_s: float) -> None:
        self._last_s = now_s
        if self._pause_s:
            _log.warning("'%s' is back.", self.name)
            self._pause_s = 0.0

    def _lose(self) -> None:
        self._release()
        if self._reconnect_s is None:
            raise SourceLost(f"'{self.name}' broke off after {counted(self._next_index, 'frame')}.")
        if not self._pause_s:
            _log.warning("'%s' broke off; waiting for it, %g s at most.", self.name, self._reconnect_s)
        elif self._left_s() <= 0:  # it opens, and then delivers nothing
            raise self._did_not_come_back()

    def _reconnect(self) -> None:
        try:
            self._try_to_open()
        except InputError as error:
            raise self._did_not_come_back() from error

    def _try_to_open(self) -> None:
        """Try once, after the pause that is due; ``InputError`` when it was the last attempt."""
        if self._closed.wait(self._pause_s):
            return
        try:
            self._capture = self._device.open()
        except InputError:
            if self._left_s() <= 0:
                raise
        longest_s = min(_LONGEST_PAUSE_S, max(self._left_s(), _FIRST_PAUSE_S))
        self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), longest_s)

    def _left_s(self) -> float:
        return 0.0 if self._reconnect_s is None else self._last_s + self._reconnect_s - time.perf_counter()

    def _did_not_come_back(self) -> SourceLost:
        return SourceLost(
            f"'{self.name}' broke off after {counted(self._next_index, 'frame')} and did not come back "
            f"within {self._reconnect_s:g} s."
        )
