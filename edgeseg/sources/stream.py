"""A live source: read as it comes, and opened again with growing pauses when it was lost."""

from __future__ import annotations

import logging
import threading
import time

import cv2

from edgeseg.errors import InputError, SourceLost
from edgeseg.sources.base import Captured
from edgeseg.sources.devices import Device
from edgeseg.sources.video import stated_fps

_log = logging.getLogger("edgeseg.sources")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0


class Stream:
    """A camera or network stream as a ``Source``, for one thread: a blocked ``read`` is not woken here.

    A live source has no regular end: one that stops is lost. Frames whose picture is damaged are passed over, and
    count in the index.
    """

    live = True
    missing_frames = 0

    def __init__(self, device: Device, *, reconnect_s: float | None, timeout_s: float) -> None:
        """Open it; where ``reconnect_s`` is given, it is waited for so long.

        Args:
            device: what to open, and to open again.
            reconnect_s: how long without a frame it is tried to open it again; None: not at all.
            timeout_s: how long a camera that is there may give no frame until it counts as lost.

        Raises:
            InputError: it cannot be opened.
        """
        self.name = device.name
        self._device = device
        self._reconnect_s = reconnect_s
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._next_index = 0
        self._capture: cv2.VideoCapture | None = self._open(time.perf_counter())
        self.fps = None if self._capture is None else stated_fps(self._capture)
        self._last_s = time.perf_counter()

    def read(self) -> Captured | None:
        """The next frame; None after ``close``.

        Raises:
            SourceLost: nothing comes any more, and did not for ``reconnect_s``.
        """
        while not self._closed.is_set():
            if self._capture is None:
                self._reconnect()
            elif self._capture.grab():
                captured_s = time.perf_counter()
                self._last_s = captured_s
                index, self._next_index = self._next_index, self._next_index + 1
                ok, image_bgr = self._capture.retrieve()
                if ok:
                    return Captured(index, f"{self._device.stem}_{index:06d}", image_bgr, captured_s)  # type: ignore[arg-type]
            elif self._device.may_recover() and time.perf_counter() - self._last_s < self._timeout_s:
                self._closed.wait(0.01)  # a driver that fails at once is not asked a million times
            else:
                self._lose()
        return None

    def stop(self) -> None:
        """Ask for the end; from any thread."""
        self._closed.set()

    def close(self) -> None:
        """Let go of the device; only by the thread that reads."""
        self.stop()
        self._release()

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _lose(self) -> None:
        self._release()
        if self._reconnect_s is None:
            raise SourceLost(f"'{self.name}' broke off after {self._next_index} frames.")
        _log.warning("'%s' broke off; it is waited for, %g s at most.", self.name, self._reconnect_s)

    def _reconnect(self) -> None:
        try:
            # From the last frame on, so that a server that accepts and then gives nothing does not begin it anew.
            self._capture = self._open(self._last_s)
        except InputError as error:
            raise SourceLost(
                f"'{self.name}' broke off after {self._next_index} frames and did not come back "
                f"within {self._reconnect_s:g} s."
            ) from error
        if self._capture is not None:
            _log.warning("'%s' is back.", self.name)

    def _open(self, since_s: float) -> cv2.VideoCapture | None:
        """Open the device, again and again until ``reconnect_s`` after ``since_s``; None when closed meanwhile."""
        pause_s = _FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                return self._device.open()
            except InputError:
                left_s = 0.0 if self._reconnect_s is None else since_s + self._reconnect_s - time.perf_counter()
                if left_s <= 0:
                    raise
            self._closed.wait(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return None
