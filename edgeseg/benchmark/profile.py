"""Find out which op takes the time: ONNX Runtime's own record of its nodes, in a process that does nothing else.

Writing the record slows every node, small ones most, so these times are good for shares and never for a latency.

    python -m edgeseg.benchmark.profile < request.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.benchmark.devices.local import ask
from edgeseg.benchmark.worker import answer, raise_refusal
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime import SUFFIXES
from edgeseg.runtime.base import is_open, open_size
from edgeseg.runtime.onnx import OnnxBackend

FORMAT_VERSION = 1

# Seconds that opening a model, and one call, may take: far above any that are useful.
_OPENING_S, _CALL_S = 600.0, 60.0
_WARM_UP = 3

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

    name: str
    op_type: str
    provider: str
    ms: float
    share: float


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


def profile(path: Path, options: Mapping[str, Any], num_runs: int) -> Profile:
    """Profile an artifact on this machine, in a process of its own.

    Args:
        path: the artifact.
        options: ``num_threads``, ``providers`` and ``input_size``, as for ``edgeseg.runtime.open_backend``.
        num_runs: calls after the warm-up.

    Raises:
        BackendUnavailable: the runtime of this file gives no profile here; the text says what does.
        InputError: the file is missing or does not open.
        DeviceLost: the process died.
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
    reply = ask(
        "edgeseg.benchmark.profile", {"path": str(path), "num_runs": num_runs, **known}, _OPENING_S + num_runs * _CALL_S
    )
    raise_refusal(reply)
    nodes = tuple(NodeTime(**node) for node in reply["nodes"])
    return Profile(
        artifact=path.name,
        runtime=reply["runtime"],
        num_threads=known.get("num_threads", 0),
        num_runs=num_runs,
        nodes=nodes,
    )


def summarize(events: Sequence[Mapping[str, Any]], num_runs: int) -> list[NodeTime]:
    """Return the nodes of the last runs of a record.

    Args:
        events: ONNX Runtime's, times in microseconds.
        num_runs: number of runs that count, from the end; those before are warm-up.
    """
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    first = starts[-num_runs]
    milliseconds: dict[tuple[str, str, str], float] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith("_kernel_time") and event["ts"] >= first:
            key = name.removesuffix("_kernel_time"), event["args"]["op_name"], event["args"].get("provider", "")
            milliseconds[key] = milliseconds.get(key, 0.0) + event["dur"] / 1e3 / num_runs
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
        events = json.loads(backend.end_profiling().read_text(encoding="utf-8"))
        backend.close()
    return {"runtime": backend.runtime, "nodes": [asdict(node) for node in summarize(events, num_runs)]}


def main() -> int:
    """Answer one request."""
    return answer(lambda asked: _measure(**asked))


if __name__ == "__main__":
    sys.exit(main())
