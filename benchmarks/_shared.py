"""Parse model names on the command line, and read and write result files, for all benchmarks."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

#: Threads inside an operation, for every runtime.
THREADS = 2

_PACKAGES = ("edgeseg", "tensorflow", "keras", "ai-edge-litert", "tf2onnx", "onnxruntime")


def parse_model(text: str) -> tuple[str, tuple[int, int]]:
    """Parse ``unet_mini:224`` or ``unet_mini:192,256`` to the name and ``(H, W)`` in pixels."""
    name, _, sides = text.partition(":")
    numbers = [int(side) for side in sides.split(",")]
    return name, (numbers[0], numbers[-1])


def environment(sources: str | None = None, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return the machine and the versions that the numbers belong to.

    Args:
        sources: a hash of edgeseg's sources, where results of other sources must not be mixed in.
        packages: names of packages whose versions matter in addition to those of every benchmark.
    """
    versions = {}
    for package in (*_PACKAGES, *packages):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "num_threads": THREADS,
        "huge_pages": _huge_pages(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        **({} if sources is None else {"edgeseg_sources": sources}),
    }


def read_json(path: Path) -> dict[str, Any]:
    """Read a result file."""
    recorded: dict[str, Any] = json.loads(path.read_text())
    return recorded


def known_results(path: Path | None) -> list[dict[str, Any]]:
    """Return the results that an interrupted run left in its output; none without an output."""
    return read_json(path)["results"] if path and path.exists() else []


def write_json(path: Path, environment: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write a result file under a temporary name first, so that an interrupted run leaves the last complete one."""
    text = json.dumps({"format_version": 1, "environment": environment, "results": results}, indent=1)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text + "\n")
    temporary.replace(path)


def _huge_pages() -> str | None:
    """Return Linux's setting of transparent huge pages: without them two processes of one file differ by up to 40 %."""
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return path.read_text().partition("[")[2].partition("]")[0] if path.exists() else None


def _cpu_model() -> str:
    """Return the processor's name from Linux's ``cpuinfo``; an ARM board has none there, so from ``platform``."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
