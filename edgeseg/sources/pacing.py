"""Time frames: when one of a file that plays in real time is due, and when a sender captured one."""

from __future__ import annotations

import logging
import time
from threading import Event

_log = logging.getLogger("edgeseg.sources")

#: The oldest frame that is believed to be as old as its sender says: clocks of two machines need not be the same.
_OLDEST_S = 10.0


class Clock:
    """Decides for each frame whether it is due, too early (then it is waited for) or late.

    It starts with the first frame. Where skipping late frames is not at least twice as fast as playing them, it is set
    back to now: the file then plays slower, and frames still come.
    """

    def __init__(self, stop: Event) -> None:
        """Make a clock that has not started; ``stop`` ends a wait early."""
        self._stop = stop
        self._due_s: float | None = None
        self._late_s: float | None = None  # how late the previous frame was, where it was skipped

    def wait(self, frame_s: float) -> float | None:
        """Wait until the next frame is due.

        Args:
            frame_s: how long it is shown, in seconds.

        Returns:
            When it was due, in the time of ``time.perf_counter``; None when the frame after it is due already.
        """
        now = time.perf_counter()
        due_s = now if self._due_s is None else self._due_s
        late_s = now - due_s
        if late_s >= frame_s:
            if self._late_s is None or late_s <= self._late_s - frame_s / 2:
                self._late_s = late_s
                self._due_s = due_s + frame_s
                return None
            due_s = now
        elif late_s < 0:
            self._stop.wait(-late_s)
        self._late_s = None
        self._due_s = due_s + frame_s
        return due_s


class SenderClock:
    """Believes when frames were captured, or not: the first that says it decides, and one line is logged about it."""

    def __init__(self, name: str) -> None:
        """Set the name of the source, for that line."""
        self._name = name
        self._believed: bool | None = None

    def captured_s(self, age_s: float) -> float:
        """Return when a frame was captured, in the time of ``time.perf_counter``.

        Args:
            age_s: seconds since then, as the sender's time stamp says.

        Returns:
            The current time where that is in the future or long ago, or where that of the first frame was.
        """
        now_s = time.perf_counter()
        believed = 0 <= age_s <= _OLDEST_S
        if self._believed is None:
            self._believed = believed
            if believed:
                _log.info("'%s' says when its frames were captured; their age counts from there.", self._name)
            else:
                _log.warning(
                    "'%s' says when its frames were captured, but by a clock that is %.1f s off: their age counts from "
                    "when they came.",
                    self._name,
                    age_s,
                )
        return now_s - age_s if believed and self._believed else now_s
