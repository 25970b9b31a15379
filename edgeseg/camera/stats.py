"""Measure a camera loop: latency of every stage, age of the shown frames, drops, memory; and report it as JSON."""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeseg.camera.trace import Trace

#: The stages of a frame. ``capture`` includes waiting for the camera; ``age`` goes from there to the end of ``output``.
STAGES = ("capture", "preprocess", "inference", "render", "output", "age")

#: Samples kept for every stage: an hour at 30 fps would be 108,000, but memory must stay flat for days.
WINDOW = 10_000

#: Frames after which the memory of a loop that keeps nothing should not grow any more.
SETTLED = 100


#: Frames that a frame rate for people is measured over at least: of three, the first of which waited for a model to
#: warm up, it may be anything.
FEWEST_RATED = 10


class CameraStats:
    """Collects statistics while the loop runs; thread-safe. Percentiles are of the last ``WINDOW`` frames.

    Attributes:
        captured: frames of the source, including those that no reader was in time for.
        shown: frames that were shown.
        dropped: frames that a newer one replaced on the way.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        """Begin with nothing measured.

        Args:
            trace: gets every sample of a stage of a frame too.
        """
        self._trace = trace
        self.captured = 0
        self.shown = 0
        self.dropped = 0
        self._samples = {stage: _Ring(WINDOW) for stage in STAGES}
        self._shown_at = _Ring(WINDOW)
        self._lock = threading.Lock()
        self._first_mb = 0.0
        self._max_mb = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """Record one sample of a stage."""
        with self._lock:
            self._samples[stage].add(seconds)

    def add_span(self, stage: str, start_s: float, end_s: float, frame: int) -> None:
        """Record a stage of a frame that began and ended at these times of ``time.perf_counter``."""
        self.add(stage, end_s - start_s)
        if self._trace is not None:
            self._trace.stage(stage, start_s, end_s, frame)

    @contextmanager
    def timed(self, stage: str, frame: int) -> Iterator[None]:
        """Record how long the block took for the frame of this number; a block that fails records nothing."""
        start = time.perf_counter()
        yield
        self.add_span(stage, start, time.perf_counter(), frame)

    def add_dropped(self, first: int, count: int) -> None:
        """Count frames that a newer one replaced, from the one of this number on."""
        self.dropped += count
        if self._trace is not None:
            self._trace.dropped(first, count)

    def frame_shown(self, captured_s: float) -> None:
        """Count a frame as shown; call it when its image was handed on."""
        now = time.perf_counter()
        with self._lock:
            self.shown += 1
            self._samples["age"].add(now - captured_s)
            self._shown_at.add(now)
        if self.shown == SETTLED or self.shown % 500 == 0:
            memory = resident_mb()
            self._first_mb = self._first_mb or memory
            self._max_mb = max(self._max_mb, memory)

    def fps(self, last: int = WINDOW) -> float:
        """Return frames per second over the last frames shown; 0 while there are fewer than two."""
        with self._lock:
            stamps = self._shown_at.newest(last)
        # n time stamps bound n - 1 frames.
        return float((len(stamps) - 1) / (stamps[-1] - stamps[0])) if len(stamps) > 1 else 0.0

    def latest_ms(self, stage: str, last: int = 30) -> float:
        """Return the median of the last samples of a stage, in milliseconds; 0 while there are none."""
        with self._lock:
            samples = self._samples[stage].newest(last)
        return float(np.median(samples)) * 1e3 if samples.size else 0.0

    def live(self) -> dict[str, Any]:
        """Return the few figures to watch while the loop runs."""
        return {
            "fps": round(self.fps(30), 1),
            "inference_ms": round(self.latest_ms("inference"), 1),
            "age_ms": round(self.latest_ms("age"), 1),
            "frames": self.shown,
            "dropped": self.dropped,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all statistics, for JSON: times in milliseconds; resident memory in MB of a million bytes.

        Memory is first recorded after ``SETTLED`` frames, when decoder, runtime and buffers have what they need.
        """
        with self._lock:
            samples = {stage: ring.newest(WINDOW) * 1e3 for stage, ring in self._samples.items()}
        memory = resident_mb()
        return {
            "format_version": 1,
            "frames": {"captured": self.captured, "shown": self.shown, "dropped": self.dropped},
            "fps": round(self.fps(), 3),
            "stages_ms": {stage: _summary(samples[stage]) for stage in STAGES if stage != "age"},
            "age_ms": _summary(samples["age"]),
            "memory_mb": {"first": self._first_mb or memory, "last": memory, "max": max(memory, self._max_mb)},
            "environment": {
                "machine": platform.machine(),
                "system": platform.platform(),
                "python": platform.python_version(),
            },
        }


class _Ring:
    """The newest samples, in memory that is allocated once."""

    def __init__(self, size: int) -> None:
        self._values = np.full(size, np.nan)
        self._count = 0

    def add(self, value: float) -> None:
        self._values[self._count % self._values.size] = value
        self._count += 1

    def newest(self, count: int) -> NDArray[np.float64]:
        """Return at most ``count`` samples, oldest first; a copy."""
        size = self._values.size
        length = min(count, size, self._count)
        return self._values[np.arange(self._count - length, self._count) % size]


def resident_mb() -> float:
    """Return the resident memory of this process in MB (a million bytes): current on Linux, the peak elsewhere."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return round(int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6, 1)
    if sys.platform == "win32":
        return 0.0  # the standard library cannot measure it here
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _summary(samples_ms: NDArray[np.float64]) -> dict[str, float]:
    if not samples_ms.size:
        return {}
    points = dict(zip(("median", "p90", "p95", "p99"), np.percentile(samples_ms, (50, 90, 95, 99)), strict=True))
    points |= {"mean": samples_ms.mean(), "min": samples_ms.min(), "max": samples_ms.max()}
    return {"count": samples_ms.size, **{name: round(float(value), 3) for name, value in points.items()}}
