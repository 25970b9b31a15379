"""Benchmark an artifact on a device: ``measure.measure`` times it, ``compare.compare`` compares two results.

Measurements run in separate processes, and come with the reasons to distrust them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names

if TYPE_CHECKING:
    from edgeseg.benchmark.compare import Comparison
    from edgeseg.benchmark.measure import Case, Device
    from edgeseg.benchmark.plan import Plan
    from edgeseg.benchmark.result import Environment, LatencyResult, read, to_json

# The functions measure and compare are not exported here: their modules have these names.
__all__ = [
    "Case",
    "Plan",
    "Device",
    "LatencyResult",
    "Environment",
    "read",
    "to_json",
    "Comparison",
]

# Loaded on first use: most need numpy and OpenCV, but the command line reads Plan's defaults alone.
_LAZY = {
    "Case": "edgeseg.benchmark.measure",
    "Plan": "edgeseg.benchmark.plan",
    "Device": "edgeseg.benchmark.measure",
    "LatencyResult": "edgeseg.benchmark.result",
    "Environment": "edgeseg.benchmark.result",
    "read": "edgeseg.benchmark.result",
    "to_json": "edgeseg.benchmark.result",
    "Comparison": "edgeseg.benchmark.compare",
}

__getattr__, __dir__ = lazy_names(__name__, _LAZY)
