"""How fast an artifact is on a device: measured in processes of its own, told with what to distrust, compared."""

from edgeseg.benchmark.compare import Comparison, compare
from edgeseg.benchmark.measure import Case, Device, Plan, measure
from edgeseg.benchmark.result import Environment, LatencyResult, read, to_json

__all__ = [
    "Case",
    "Plan",
    "Device",
    "measure",
    "LatencyResult",
    "Environment",
    "read",
    "to_json",
    "Comparison",
    "compare",
]
