"""Find out which op takes the time: ONNX Runtime's own record of its nodes, in a process that does nothing else.

Writing the record slows every node, small ones most, so these times are good for shares and never for a latency.

    python -m edgeseg.benchmark.profile < request.json
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np

from edgeseg._internal.json import AnyText, Meta, WrongValue, decode
from edgeseg._internal.text import counted
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.runtime import SUFFIXES
from edgeseg.runtime.base import is_open, open_size
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.runtime.process.exchange import answer, ask, raise_refusal

FORMAT_VERSION = 1

# Seconds that opening a model, and one call, may take: far above any that are useful.
_OPENING_S, _CALL_S = 600.0, 60.0
_WARM_UP = 3

# The name of a node of ONNX Runtime's has those of what it was fused from; nodes of a model, and events of a record.
_Name = Annotated[str, Meta(max_length=1 << 16)]
_MOST_NODES, _MOST_EVENTS = 1_000_000, 100_000_000
_Microseconds = Annotated[float, Meta(ge=0, le=1e15)]

#: Columns of ``rows``; those that begin with ``>`` are numbers.
COLUMNS = ("Node", "Op", "Provider", ">ms", ">Share")


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """One node of the graph as the runtime runs it, after its own fusions.

    Attributes:
        name: of the node.
        op_type: of the node.
        provider: the provider that ran it.
        ms: mean per run, in milliseconds, including the cost of the record.
        share: of the time of all nodes, in [0, 1].
    """

    name: _Name
    op_type: _Name
    provider: _Name
    ms: Annotated[float, Meta(ge=0, le=1e9)]
    share: Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How the time of an artifact is spent.

    Attributes:
        artifact: name of the file.
        runtime: the runtime that ran it, with its version.
        num_threads: of the runtime; 0 where the default was used.
        num_runs: number of calls that the times are means of.
        nodes: the slowest first.
    """

    artifact: str
    runtime: str
    num_threads: int
    num_runs: int
    nodes: tuple[NodeTime, ...]

    def by_op(self) -> list[tuple[str, int, float, float]]:
        """Return the time by op: its name, number of nodes, milliseconds and share; the slowest first."""
        nodes: dict[str, list[NodeTime]] = {}
        for node in self.nodes:
            nodes.setdefault(node.op_type, []).append(node)
        summed = [(op, len(n), sum(x.ms for x in n), sum(x.share for x in n)) for op, n in nodes.items()]
        return sorted(summed, key=lambda entry: -entry[2])

    def rows(self, count: int = 15) -> list[list[str]]:
        """Return the slowest nodes for a table with ``COLUMNS``."""
        return [[n.name, n.op_type, n.provider, f"{n.ms:.3f}", f"{n.share:.1%}"] for n in self.nodes[:count]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        ops = [dict(zip(("op_type", "nodes", "ms", "share"), entry, strict=True)) for entry in self.by_op()]
        return {"format_version": FORMAT_VERSION, **asdict(self), "ops": ops}


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """The answer of the process that made the record."""

    runtime: AnyText
    nodes: Annotated[tuple[NodeTime, ...], Meta(max_length=_MOST_NODES)]


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    op_name: _Name = ""
    provider: _Name = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of ONNX Runtime's record, times in microseconds."""

    name: _Name = ""
    cat: _Name = ""
    ts: _Microseconds = 0.0
    dur: _Microseconds = 0.0
    args: _Arguments = field(default_factory=_Arguments)


_Events = Annotated[tuple[Event, ...], Meta(max_length=_MOST_EVENTS)]


def profile(path: Path, options: Mapping[str, Any], num_runs: int) -> Profile:
    """Profile an artifact on this machine, in a process of its own.

    Args:
        path: the artifact.
        options: ``num_threads``, ``providers`` and ``input_size``, as for ``edgeseg.runtime.open_backend``.
        num_runs: calls after the warm-up.

    Raises:
        BackendUnavailable: the runtime of this file gives no profile here; the text says what does.
        InputError: the file is missing or does not open.
        DeviceLost: the process died, or its answer cannot be right.
    """
    if not path.is_file():
        raise InputError(f"model file '{path}' does not exist.")
    if SUFFIXES.get(path.suffix.lower()) != "onnx":
        raise BackendUnavailable(
            f"'{path.name}': only ONNX Runtime gives a profile by op from Python; for a .tflite use LiteRT's "
            "benchmark_model on the device, with --enable_op_profiling=true (Interpreter) or --use_profiler=true "
            "(CompiledModel)."
        )
    alike = {"num_threads": None, "providers": None, "input_size": None, "accelerator": "cpu"}
    other = sorted(k for k, v in options.items() if v and (k not in alike or alike[k] not in (None, v)))
    if other:
        raise InputError(f"a profile is of ONNX Runtime with its threads and providers; {', '.join(other)} is not.")
    known = {name: options[name] for name in ("num_threads", "providers", "input_size") if options.get(name)}
    request = {"path": str(path), "num_runs": num_runs, **known}
    reply = ask("edgeseg.benchmark.profile", request, _OPENING_S + num_runs * _CALL_S)
    try:
        raise_refusal(reply)
        profiled = decode(reply, _Reply)
    except WrongValue as error:
        raise DeviceLost(f"what the process that profiled '{path}' says cannot be right: {error}.") from error
    return Profile(
        artifact=path.name,
        runtime=profiled.runtime,
        num_threads=known.get("num_threads", 0),
        num_runs=num_runs,
        nodes=profiled.nodes,
    )


def summarize(events: Sequence[Event], num_runs: int) -> list[NodeTime]:
    """Return the nodes of the last runs of a record.

    Args:
        events: ONNX Runtime's.
        num_runs: number of runs that count, from the end; those before are warm-up.

    Raises:
        InputError: the record has fewer runs.
    """
    starts = sorted(event.ts for event in events if event.name == "model_run")
    if len(starts) < num_runs:
        raise InputError(f"ONNX Runtime's record has {counted(len(starts), 'run')} of {num_runs}.")
    first = starts[-num_runs]
    milliseconds: dict[tuple[str, str, str], float] = {}
    for event in events:
        if event.cat == "Node" and event.name.endswith("_kernel_time") and event.ts >= first:
            key = event.name.removesuffix("_kernel_time"), event.args.op_name, event.args.provider
            milliseconds[key] = milliseconds.get(key, 0.0) + event.dur / 1e3 / num_runs
    total = sum(milliseconds.values()) or 1.0
    nodes = [
        NodeTime(name=name, op_type=op_type, provider=provider, ms=ms, share=ms / total)
        for (name, op_type, provider), ms in milliseconds.items()
    ]
    return sorted(nodes, key=lambda node: -node.ms)


def _measure(path: str, num_runs: int, **options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        backend = OnnxBackend(path, profile_to=Path(folder), **options)
        info = backend.inputs[0]
        if is_open(info.shape):
            raise open_size(f"'{path}'", info)
        shape = (abs(info.shape[0]), *info.shape[1:])  # a batch that is open is 1
        image = np.random.default_rng(0).integers(0, 256, shape).astype(info.dtype)
        for _ in range(_WARM_UP + num_runs):
            backend.run(image)
        record = backend.end_profiling().read_bytes()
        backend.close()
    try:
        events: tuple[Event, ...] = decode(record, cast(Any, _Events))
    except WrongValue as error:
        raise InputError(f"ONNX Runtime's record of '{path}' cannot be read: {error}.") from error
    return {"runtime": backend.runtime, "nodes": [asdict(node) for node in summarize(events, num_runs)]}


def main() -> int:
    """Answer one request."""
    return answer(lambda asked: _measure(**asked))


if __name__ == "__main__":
    sys.exit(main())
