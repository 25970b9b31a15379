"""Find out which op takes the time, on ONNX Runtime and LiteRT, each in a process that does nothing else."""

from __future__ import annotations

from edgeseg.benchmark.profile.device import profile_on
from edgeseg.benchmark.profile.model_explorer import node_data
from edgeseg.benchmark.profile.profiler import profile
from edgeseg.benchmark.profile.result import COLUMNS, NodeTime, Profile

__all__ = [
    # what to call
    "node_data",
    "profile",
    "profile_on",
    # what comes out
    "COLUMNS",
    "NodeTime",
    "Profile",
]
