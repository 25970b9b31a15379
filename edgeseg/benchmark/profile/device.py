"""Profile an artifact on a device whose own tool times the ops: ``benchmark_model`` over adb."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgeseg.benchmark.profile.result import NodeTime, Profile

# The tool ends the name of an op of the main graph with its number.
_INDEX = re.compile(r"^\[(?P<outputs>.*)\]:(?P<index>\d{1,6})$")


class OpTime(Protocol):
    """The time of an op as the tool says it; see ``devices.op_profile.OpTime``."""

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def milliseconds(self) -> float: ...  # noqa: D102
    @property
    def share(self) -> float: ...  # noqa: D102


class ProfilingDevice(Protocol):
    """A device that times ops."""

    name: str

    @property
    def runtime(self) -> str: ...  # noqa: D102 - see AdbDevice

    def op_times(self, artifact: Path, options: Mapping[str, Any], *, num_runs: int) -> Sequence[OpTime]:
        """Return how long each op takes, the slowest first."""
        ...


def profile_on(device: ProfilingDevice, artifact: Path, options: Mapping[str, Any], num_runs: int) -> Profile:
    """Time each op of an artifact on a device.

    Args:
        device: entered already.
        artifact: a ``.tflite`` file of this computer.
        options: keywords of ``edgeseg.runtime.open_backend``.
        num_runs: timed runs.

    Returns:
        The profile; how long whole runs take is not known, as the tool does not say it of the runs that it profiles.

    Raises:
        EdgesegError: see ``AdbDevice.op_times``.
    """
    ops = device.op_times(artifact, options, num_runs=num_runs)
    return Profile(
        artifact=artifact.name,
        runtime=f"{device.runtime} on {device.name}",
        num_threads=int(options.get("num_threads") or 0),
        num_runs=num_runs,
        run_ms=0.0,
        nodes=tuple(_node(op) for op in ops),
    )


def _node(op: OpTime) -> NodeTime:
    match = _INDEX.match(op.name)
    return NodeTime(
        name=match["outputs"] if match else op.name,
        op_type=op.kind,
        provider="benchmark_model",
        ms=op.milliseconds,
        share=op.share,
        index=int(match["index"]) if match else None,
        outputs=tuple(match["outputs"].split(", ")) if match else (),
    )
