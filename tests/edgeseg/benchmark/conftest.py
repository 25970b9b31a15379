from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeseg.benchmark.result import Environment, LatencyResult


@pytest.fixture(scope="session")
def make_result() -> Callable[..., LatencyResult]:
    """A function that makes a result of two processes with three calls each; its keywords replace fields."""

    def make(**changes: Any) -> LatencyResult:
        values: dict[str, Any] = {
            "artifact": "m.fp32.tflite",
            "sha256": "a" * 64,
            "size_bytes": 1_500_000,
            "accelerator": "cpu",
            "runtime": "ai-edge-litert 2.3.0",
            "num_threads": 2,
            "scope": "inference",
            "latencies_s": (0.010, 0.011, 0.012, 0.020, 0.021, 0.028),
            "rounds": (3, 3),
            "warmup_runs": 5,
            "init_s": (0.1, 0.3),
            "first_s": (0.05, 0.07),
            "peak_memory_bytes": 2_000_000,
            "environment": Environment(
                device="local",
                machine="EPYC",
                system="Linux",
                cpus=2,
                versions={"numpy": "2.4"},
                temperature_c=(40, 50),
            ),
        }
        return LatencyResult(**{**values, **changes})

    return make
