"""How long artifacts take, side by side on this machine: enough to say which precision is the faster one here.

The artifacts take turns, so that what else the machine does meets all of them alike. What is timed is one call of the
runtime on an input that is ready; pre- and post-processing are not in it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.runtime import Backend, default_threads, open_artifact
from edgeseg.spec import Format

# The threads of ONNX Runtime go on spinning for a while after a call and would take the next one's cores.
_PAUSE_S = 0.01


@dataclass(frozen=True)
class Environment:
    """Where and how latencies were measured.

    Attributes:
        machine: the CPU, as the system names it.
        system: operating system and architecture.
        runtimes: name and version of each runtime.
        num_threads: of the runtime.
        warmup: calls of each artifact before the first that is timed.
        date: UTC, ``2026-01-31T12:00Z``.
    """

    machine: str
    system: str
    runtimes: tuple[str, ...]
    num_threads: int
    warmup: int
    date: str


@dataclass(frozen=True)
class Latency:
    """The timed calls of one artifact.

    Attributes:
        latencies_s: seconds of each call, in order.
    """

    latencies_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The median, in seconds."""
        return float(np.median(self.latencies_s))

    @property
    def spread(self) -> float:
        """How far apart the 10th and the 90th percentile are, over the median."""
        low, high = np.percentile(self.latencies_s, (10, 90))
        return float(high - low) / self.median_s

    def to_dict(self) -> dict[str, Any]:
        """For the JSON of the report."""
        return {
            "latencies_s": list(self.latencies_s),
            "summary": {"median_ms": self.median_s * 1e3, "min_ms": min(self.latencies_s) * 1e3, "spread": self.spread},
        }


def measure(
    artifacts: Mapping[str, tuple[bytes, Format]],
    *,
    num_runs: int = 30,
    warmup: int = 3,
    num_threads: int | None = None,
) -> tuple[dict[str, Latency], Environment]:
    """Time artifacts in turns, one call of each a round, in a new random order every round.

    Args:
        artifacts: name to the file's bytes and its format.
        num_runs: timed calls of each.
        warmup: calls of each before that.
        num_threads: of the runtimes; ``default_threads()`` when left out.

    Returns:
        The latency of each artifact by its name, and where they were measured.

    Raises:
        InputError: an artifact is broken.
    """
    threads = default_threads() if num_threads is None else num_threads
    rng = np.random.default_rng(0)
    opened: dict[str, tuple[Backend, NDArray[Any]]] = {}
    try:
        for name, (data, file_format) in artifacts.items():
            backend = open_artifact(data, file_format, num_threads=threads)
            info = backend.inputs[0]
            opened[name] = backend, rng.integers(0, 256, info.shape).astype(info.dtype)
        seconds: dict[str, list[float]] = {name: [] for name in opened}
        for _ in range(warmup + num_runs):
            for name in rng.permutation(list(opened)):
                backend, tensor = opened[name]
                time.sleep(_PAUSE_S)
                start = time.perf_counter()
                backend.run(tensor)
                seconds[name].append(time.perf_counter() - start)
        runtimes = tuple(sorted({backend.runtime for backend, _ in opened.values()}))
    finally:
        for backend, _ in opened.values():
            backend.close()
    date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ")
    system = f"{platform.system()} {platform.machine()}"
    environment = Environment(_cpu_name(), system, runtimes, threads, warmup, date)
    return {name: Latency(tuple(taken[warmup:])) for name, taken in seconds.items()}, environment


def _cpu_name() -> str:
    """The CPU's name where the system has one: Linux in a file, others in ``platform``."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    return names.get("model name") or names.get("Model") or platform.processor() or "unknown"
