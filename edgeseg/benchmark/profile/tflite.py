"""Profile a ``.tflite`` file: LiteRT's profiler, which times each op of its own and each operator inside XNNPACK.

python -m edgeseg.benchmark.profile.tflite < request.json
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from edgeseg._internal.versions import installed_version
from edgeseg.benchmark.profile.alignment import aligned
from edgeseg.benchmark.profile.result import WARM_UP, NodeTime, typical_ms
from edgeseg.errors import InputError
from edgeseg.runtime.artifact import read_tflite
from edgeseg.runtime.base import default_threads
from edgeseg.runtime.process.exchange import answer
from edgeseg.tflite.file import has_open_size
from edgeseg.tflite.graph import Graph, read_graph
from edgeseg.tflite.profiler_internals import OpEvent, ProfiledModel, ProfiledRun, require_sums


def summarize(graph: Graph, runs: Sequence[ProfiledRun]) -> tuple[list[NodeTime], float]:
    """Return the ops of runs, the slowest first, and the median time of these runs in milliseconds.

    Args:
        graph: of the file.
        runs: after the warm-up.

    Raises:
        InputError: the runs are not of the same ops.
    """
    walls = [run.wall_us for run in runs]
    first = runs[0].ops
    if any([op.name for op in run.ops] != [op.name for op in first] for run in runs):
        raise InputError("LiteRT did not run the same ops each time: a model that decides what it runs has no profile.")
    times = typical_ms([[op.us / 1e3 for op in run.ops] for run in runs], walls)
    total = sum(times) or 1.0
    names = [(tensor.name or b"").decode(errors="replace") for tensor in graph.model.subgraphs[0].tensors or ()]
    nodes = [
        _node(graph, names, place, event=event, index=index, ms=ms, share=ms / total)
        for place, (event, index, ms) in enumerate(zip(first, aligned(graph, first), times, strict=True))
    ]
    return sorted(nodes, key=lambda node: -node.ms), statistics.median(walls) / 1e3


def _node(
    graph: Graph, names: Sequence[str], place: int, *, event: OpEvent, index: int | None, ms: float, share: float
) -> NodeTime:
    kernel = event.name if event.delegated else ""
    outputs = () if index is None else tuple(names[tensor] for tensor in graph.nodes[index].outputs)
    return NodeTime(
        name=next(filter(None, outputs), f"{event.name} #{place}"),
        op_type=event.name if index is None else graph.nodes[index].op,
        provider="XNNPACK" if event.delegated else "LiteRT",
        ms=ms,
        share=share,
        kernel=kernel,
        index=index,
        outputs=outputs,
    )


def _measure(path: str, num_runs: int, num_threads: int | None = None) -> dict[str, Any]:
    what, content, _ = read_tflite(path)
    if has_open_size(content):
        raise InputError(
            f"{what} leaves its input size open, which LiteRT's CompiledModel does not run: convert the model at a "
            "fixed size (edgeseg export --imgsz H,W)."
        )
    graph = read_graph(content)
    model = ProfiledModel(content, num_threads=num_threads or default_threads())
    rng = np.random.default_rng(0)
    for number, tensor in enumerate(graph.model.subgraphs[0].inputs):
        info = graph.tensors[tensor]
        model.write(number, rng.integers(0, 256, info.shape).astype(info.dtype.lower()).tobytes())
    runs = [model.run() for _ in range(WARM_UP + num_runs)][WARM_UP:]
    model.close()
    require_sums(runs)
    nodes, run_ms = summarize(graph, runs)
    runtime = f"ai-edge-litert {installed_version('ai-edge-litert')} CompiledModel cpu"
    return {"runtime": runtime, "run_ms": run_ms, "nodes": [asdict(node) for node in nodes]}


def main() -> int:
    """Answer one request."""
    return answer(lambda asked: _measure(**asked))


if __name__ == "__main__":
    sys.exit(main())
