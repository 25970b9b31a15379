"""What a camera loop measured: latency of every stage, age of what was shown, drops, memory; and its JSON."""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

#: The way of a frame. ``capture`` includes waiting for the camera; ``age`` is from there to the end of ``output``.
STAGES = ("capture", "preprocess", "inference", "render", "output", "age")

#: Samples that are kept of every stage: an hour at 30 fps would be 108,000; memory must stay flat for days.
WINDOW = 10_000


class CameraStats:
    """Collects while the loop runs; thread-safe. Percentiles are of the last ``WINDOW`` frames.

    Attributes:
        captured: frames that the source had, those among them that nobody was in time for.
        shown: frames that came out.
        dropped: frames that a newer one replaced on the way.
    """

    def __init__(self) -> None:
        self.captured = 0
        self.shown = 0
        self.dropped = 0
        self._samples: dict[str, deque[float]] = {stage: deque(maxlen=WINDOW) for stage in STAGES}
        self._shown_at: deque[float] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()
        self._memory_mb: list[float] = []

    def add(self, stage: str, seconds: float) -> None:
        """Keep one sample of a stage."""
        with self._lock:
            self._samples[stage].append(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Keep how long the block took; a block that fails leaves nothing."""
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def frame_shown(self, captured_s: float) -> None:
        """A frame is out; call it when its picture was handed on."""
        now = time.perf_counter()
        with self._lock:
            self.shown += 1
            self._samples["age"].append(now - captured_s)
            self._shown_at.append(now)
            first = self.shown == 1
        if first or self.shown % 500 == 0:
            self._memory_mb.append(resident_mb())

    def fps(self, last: int = WINDOW) -> float:
        """Frames a second over the last frames shown; 0 while there are fewer than two."""
        with self._lock:
            stamps = list(self._shown_at)[-last:]
        # n time stamps bound n - 1 frames.
        return (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 else 0.0

    def latest_ms(self, stage: str, last: int = 30) -> float:
        """Median of the last samples of a stage, in milliseconds; 0 while there is none."""
        with self._lock:
            samples = list(self._samples[stage])[-last:]
        return float(np.median(samples)) * 1e3 if samples else 0.0

    def live(self) -> dict[str, Any]:
        """The few figures to watch while it runs."""
        return {
            "fps": round(self.fps(30), 1),
            "inference_ms": round(self.latest_ms("inference"), 1),
            "age_ms": round(self.latest_ms("age"), 1),
            "frames": self.shown,
            "dropped": self.dropped,
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON: times in milliseconds, memory in MB of a million bytes."""
        with self._lock:
            samples = {stage: np.array(values) * 1e3 for stage, values in self._samples.items()}
        memory = [*self._memory_mb, resident_mb()]
        return {
            "format_version": 1,
            "frames": {"captured": self.captured, "shown": self.shown, "dropped": self.dropped},
            "fps": round(self.fps(), 3),
            "stages_ms": {stage: _summary(samples[stage]) for stage in STAGES if stage != "age"},
            "age_ms": _summary(samples["age"]),
            "memory_mb": {"first": memory[0], "last": memory[-1], "max": max(memory)},
            "environment": {
                "machine": platform.machine(),
                "system": platform.platform(),
                "python": platform.python_version(),
            },
        }


def resident_mb() -> float:
    """Resident memory of this process in MB (a million bytes): now on Linux, the highest so far elsewhere."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return round(int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6, 1)
    if sys.platform == "win32":
        return 0.0  # the standard library has no figure for it
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _summary(samples_ms: np.ndarray[Any, Any]) -> dict[str, float]:
    if not samples_ms.size:
        return {}
    points = dict(zip(("median", "p90", "p95", "p99"), np.percentile(samples_ms, (50, 90, 95, 99)), strict=True))
    points |= {"mean": samples_ms.mean(), "min": samples_ms.min(), "max": samples_ms.max()}
    return {"count": samples_ms.size, **{name: round(float(value), 3) for name, value in points.items()}}
