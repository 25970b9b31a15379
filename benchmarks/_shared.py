"""What the benchmarks share: how a model is named on the command line, and what a result file says of the machine."""

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
    """``unet_mini:224`` or ``unet_mini:192,256`` to the name and ``(H, W)`` in pixels."""
    name, _, sides = text.partition(":")
    numbers = [int(side) for side in sides.split(",")]
    return name, (numbers[0], numbers[-1])


def environment(sources: str | None = None, packages: Sequence[str] = ()) -> dict[str, Any]:
    """The machine and the versions that numbers belong to.

    Args:
        sources: a hash of edgeseg's sources, where results of other sources must not be mixed in.
        packages: whose versions matter beside those of every benchmark.
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
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        **({} if sources is None else {"edgeseg_sources": sources}),
    }


def read_json(path: Path) -> dict[str, Any]:
    """A result file."""
    recorded: dict[str, Any] = json.loads(path.read_text())
    return recorded


def write_json(path: Path, environment: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write a result file, by way of a temporary name: an interrupted run leaves the last whole one."""
    text = json.dumps({"format_version": 1, "environment": environment, "results": results}, indent=1)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text + "\n")
    temporary.replace(path)


def _cpu_model() -> str:
    """The processor's name as Linux gives it; an ARM board has none in ``cpuinfo``, so ``platform``'s guess there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
