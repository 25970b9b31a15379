"""Time the frames of a file that plays in real time."""

from __future__ import annotations

import time
from threading import Event


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
