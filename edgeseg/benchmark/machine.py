"""Query this machine for its name, governor, temperature and load; Linux provides most."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from edgeseg._internal.versions import installed_distribution
from edgeseg.benchmark.result import HUGE_PAGES, Environment

_PACKAGES = (
    "edgeseg",
    "numpy",
    "opencv-python",
    "ai-edge-litert",
    "tflite-runtime",
    "onnxruntime",
    "MNN",
    "openvino",
    "keras",
    "tensorflow",
)
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_THERMAL = Path("/sys/class/thermal")
_STAT = Path("/proc/stat")


def environment(device: str = "local") -> Environment:
    """Describe this machine as it is now.

    Args:
        device: the name under which the user reaches it.
    """
    return Environment(
        device=device,
        machine=cpu_name(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        governor=_text(_CPUFREQ),
        versions=versions(),
        date=now(),
        extra={HUGE_PAGES: setting} if (setting := _text(_HUGE_PAGES).partition("[")[2].partition("]")[0]) else {},
    )


def now() -> str:
    """Return the time in UTC, as ``2026-01-31T12:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def versions() -> dict[str, str]:
    """Return the versions of the packages that can affect a latency, by their distribution names."""
    installed = (installed_distribution(package) for package in _PACKAGES)
    return {"python": platform.python_version(), **dict(distribution for distribution in installed if distribution)}


def cpu_name() -> str:
    """Return the CPU's name as the system states it: a board's device tree, ``cpuinfo``, or what Python knows."""
    fields = dict(line.split(":", 1) for line in _text(Path("/proc/cpuinfo")).splitlines() if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    board = _text(Path("/proc/device-tree/model")).rstrip("\0")
    return names.get("model name") or board or names.get("Model") or platform.processor() or platform.machine()


def temperature_c() -> float | None:
    """Return the hottest thermal zone in degrees Celsius; ``None`` where the system shows none."""
    readings = [int(text) / 1000 for path in _THERMAL.glob("thermal_zone*/temp") if (text := _text(path)).isdigit()]
    return max(readings) if readings else None


def busy_share(seconds: float = 0.3) -> float | None:
    """Return the share of the CPU, in [0, 1], that is in use or stolen by other guests while this process sleeps.

    Args:
        seconds: how long to measure.

    Returns:
        ``None`` where the system has no ``/proc/stat``.
    """
    before = _cpu_times()
    time.sleep(seconds)
    after = _cpu_times()
    if before is None or after is None:
        return None
    total = sum(after) - sum(before)
    idle = after[3] + after[4] - before[3] - before[4]  # idle and iowait
    return min(1.0, max(0.0, 1 - idle / total)) if total else 0.0


def _cpu_times() -> list[int] | None:
    lines = _text(_STAT).splitlines()
    # user nice system idle iowait irq softirq steal; guest time is in user already
    return [int(value) for value in lines[0].split()[1:9]] if lines else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
