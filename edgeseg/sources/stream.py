"""Read a live source as it comes, and open it again with growing pauses when it is lost."""

from __future__ import annotations

import logging
import threading
import time

from edgeseg._internal.text import counted
from edgeseg.errors import InputError, SourceLost
from edgeseg.sources.base import Captured
from edgeseg.sources.devices import Capture, Device, LiveCapture
from edgeseg.sources.opencv import stated_fps
from edgeseg.video.container import HungUp

_log = logging.getLogger("edgeseg.sources")

#: Before the next attempt, where nothing answers: doubled from the first to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0

#: The longest pause where a server answers and hangs up after a few frames: asking it again costs it more.
_LONGEST_PAUSE_OF_HANG_UPS_S = 8.0

#: A connection that delivered for so long was a good one: it is asked for again at once.
_STEADY_S = 4.0

#: A line about what was lost comes at most as often.
_BETWEEN_LINES_S = 5.0


class Stream:
    """A camera or network stream as a ``Source``, for one thread: a blocked ``read`` is not woken here.

    A live source has no regular end: one that stops is lost. Frames whose image is damaged are skipped, and count in
    the index.
    """

    live = True
    missing_frames = 0

    def __init__(
        self,
        device: Device,
        *,
        reconnect_s: float | None,
        timeout_s: float,
        stop: threading.Event | None = None,
    ) -> None:
        """Open the device; where ``reconnect_s`` is given, wait that long for it.

        Args:
            device: the device to open, and to open again.
            reconnect_s: how long to try to open it again without a frame; None: do not try.
            timeout_s: how long a camera that is there may deliver no frame until it counts as lost.
            stop: ends the attempts to open it.

        Raises:
            InputError: it cannot be opened.
        """
        self.name = device.name
        self._device = device
        self._reconnect_s = reconnect_s
        self._timeout_s = timeout_s
        self._closed = stop or threading.Event()
        self._next_index = 0
        self._capture: Capture | None = None
        self._last_s = time.perf_counter()  # when the last frame came
        self._opened_s = self._last_s
        self._pause_s = 0.0  # before the next attempt to open it; 0 as long as frames come steadily
        self._reason = ""  # of the last loss or failed attempt
        self._waiting = False  # for a lost one
        self._line_s = -_BETWEEN_LINES_S  # when a line last said that it was lost
        self._said = False  # that it was lost, and not yet that it is back
        self._losses = 0  # since that line
        while self._capture is None and not self._closed.is_set():
            self._try_to_open()
        self._pause_s = 0.0
        self.fps: float | None = None if self._capture is None else stated_fps(self._capture)

    @property
    def opened(self) -> Capture | None:
        """What is open; None while it is waited for, and after the end."""
        return self._capture

    def take(self) -> Capture | None:
        """Return what is open, and leave it to the caller; the stream has ended then."""
        self._closed.set()
        capture, self._capture = self._capture, None
        return capture

    def read(self) -> Captured | None:
        """Return the next frame; None after ``close``.

        Raises:
            SourceLost: no frame came for ``reconnect_s``.
        """
        while not self._closed.is_set():
            if self._capture is None:
                self._reconnect()
            elif self._capture.grab():
                now_s = time.perf_counter()
                captured_s, skipped = now_s, 0
                if isinstance(self._capture, LiveCapture):
                    captured_s, skipped = self._capture.captured_s, self._capture.skipped
                self._came(now_s)
                index = self._next_index + skipped
                self._next_index = index + 1
                ok, image_bgr = self._capture.retrieve()
                if ok:
                    name = f"{self._device.stem}_{index:06d}"
                    return Captured(index=index, name=name, image_bgr=image_bgr, captured_s=captured_s)
            elif self._device.may_recover() and time.perf_counter() - self._last_s < self._timeout_s:
                self._closed.wait(0.01)  # a driver that fails at once is not asked a million times
            elif not self._closed.is_set():
                self._lose()
        return None

    def stop(self) -> None:
        """Request the end; callable from any thread."""
        self._closed.set()
        capture = self._capture
        if isinstance(capture, LiveCapture):
            capture.stop()

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
        if now_s - self._opened_s >= _STEADY_S:
            self._pause_s = 0.0
        if self._waiting:
            self._waiting = False
            if self._said:
                self._said = False
                _log.warning("'%s' is back.", self.name)

    def _lose(self) -> None:
        self._reason = self._capture.reason if isinstance(self._capture, LiveCapture) else ""
        self._release()
        if self._reconnect_s is None:
            raise SourceLost(f"{self._broke_off()}.")
        self._losses += not self._waiting
        if self._waiting and self._left_s() <= 0:  # it opens, and then delivers nothing
            raise self._did_not_come_back()
        if not self._waiting and time.perf_counter() - self._line_s >= _BETWEEN_LINES_S:
            self._line_s = time.perf_counter()
            self._said = True
            often = f", {counted(self._losses, 'time')} since the last line" if self._losses > 1 else ""
            reason = f" ({self._reason}{often})" if self._reason or often else ""
            _log.warning("'%s' broke off%s; waiting for it, %g s at most.", self.name, reason, self._reconnect_s)
            self._losses = 0
        self._waiting = True

    def _reconnect(self) -> None:
        try:
            self._try_to_open()
        except InputError as error:
            raise self._did_not_come_back() from error

    def _try_to_open(self) -> None:
        """Try once, after the pause that is due; ``InputError`` when it was the last attempt."""
        if self._closed.wait(self._pause_s):
            return
        longest_s = _LONGEST_PAUSE_OF_HANG_UPS_S
        try:
            self._capture = self._device.open()
            self._opened_s = time.perf_counter()
        except InputError as error:
            text = str(error).removeprefix(f"'{self.name}'").strip().rstrip(".")
            self._reason = f"it {text}"
            longest_s = _LONGEST_PAUSE_OF_HANG_UPS_S if isinstance(error, HungUp) else _LONGEST_PAUSE_S
            if self._left_s() <= 0:
                raise
        self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), longest_s, max(self._left_s(), _FIRST_PAUSE_S))

    def _left_s(self) -> float:
        return 0.0 if self._reconnect_s is None else self._last_s + self._reconnect_s - time.perf_counter()

    def _broke_off(self) -> str:
        if not self._next_index:
            return f"'{self.name}' delivers no image: {self._reason or 'it ended'}"
        return f"'{self.name}' broke off after {counted(self._next_index, 'frame')}" + (
            f": {self._reason}" if self._reason else ""
        )

    def _did_not_come_back(self) -> SourceLost:
        why = f": {self._reason}" if self._reason else ""
        return SourceLost(
            f"'{self.name}' broke off after {counted(self._next_index, 'frame')} and did not come back "
            f"within {self._reconnect_s:g} s{why}."
        )
