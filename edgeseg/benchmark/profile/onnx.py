"""Profile an ONNX file: ONNX Runtime's own record of its nodes.

Writing the record slows every node, small ones most, so these times are good for shares and never for a latency.

    python -m edgeseg.benchmark.profile.onnx < request.json
"""

from __future__ import annotations

import bisect
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np

from edgeseg._internal.json import Meta, WrongValue, decode
from edgeseg._internal.text import counted
from edgeseg.benchmark.profile.result import WARM_UP, Name, NodeTime, typical_ms
from edgeseg.errors import InputError
from edgeseg.runtime.base import is_open, open_size
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.runtime.process.exchange import answer

_MOST_EVENTS = 100_000_000
_Microseconds = Annotated[float, Meta(ge=0, le=1e15)]


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    op_name: Name = ""
    provider: Name = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of ONNX Runtime's record, times in microseconds."""

    name: Name = ""
    cat: Name = ""
    ts: _Microseconds = 0.0
    dur: _Microseconds = 0.0
    args: _Arguments = field(default_factory=_Arguments)


_Events = Annotated[tuple[Event, ...], Meta(max_length=_MOST_EVENTS)]


def summarize(events: Sequence[Event], num_runs: int) -> tuple[list[NodeTime], float]:
    """Return the nodes of the last runs of a record, and the median time of these runs in milliseconds.

    Args:
        events: ONNX Runtime's.
        num_runs: number of runs that count, from the end; those before are warm-up.

    Raises:
        InputError: the record has fewer runs.
    """
    runs = sorted((event.ts, event.dur) for event in events if event.name == "model_run")
    if len(runs) < num_runs:
        raise InputError(f"ONNX Runtime's record has {counted(len(runs), 'run')} of {num_runs}.")
    starts, durations = zip(*runs[-num_runs:], strict=True)
    by_node: dict[tuple[str, str, str], list[float]] = {}
    for event in events:
        run = bisect.bisect_right(starts, event.ts) - 1
        if run >= 0 and event.cat == "Node" and event.name.endswith("_kernel_time"):
            key = event.name.removesuffix("_kernel_time"), event.args.op_name, event.args.provider
            by_node.setdefault(key, [0.0] * num_runs)[run] += event.dur / 1e3
    milliseconds = typical_ms(list(zip(*by_node.values(), strict=True)), durations) if by_node else []
    total = sum(milliseconds) or 1.0
    nodes = [
        NodeTime(name=name, op_type=op_type, provider=provider, ms=ms, share=ms / total)
        for (name, op_type, provider), ms in zip(by_node, milliseconds, strict=True)
    ]
    return sorted(nodes, key=lambda node: -node.ms), statistics.median(durations) / 1e3


def _measure(path: str, num_runs: int, **options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        backend = OnnxBackend(path, profile_to=Path(folder), **options)
        info = backend.inputs[0]
        if is_open(info.shape):
            raise open_size(f"'{path}'", info)
        shape = (abs(info.shape[0]), *info.shape[1:])  # a batch that is open is 1
        image = np.random.default_rng(0).integers(0, 256, shape).astype(info.dtype)
        for _ in range(WARM_UP + num_runs):
            backend.run(image)
        record = backend.end_profiling().read_bytes()
        backend.close()
    try:
        events: tuple[Event, ...] = decode(record, cast(Any, _Events))
    except WrongValue as error:
        raise InputError(f"ONNX Runtime's record of '{path}' cannot be read: {error}.") from error
    nodes, run_ms = summarize(events, num_runs)
    return {"runtime": backend.runtime, "run_ms": run_ms, "nodes": [asdict(node) for node in nodes]}


def main() -> int:
    """Answer one request."""
    return answer(lambda asked: _measure(**asked))


if __name__ == "__main__":
    sys.exit(main())
