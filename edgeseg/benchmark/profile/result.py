"""Hold a profile: the time of each op, and how it is summed up from runs.

The JSON has a version; a changed meaning is a new version and a line here:
1 - the first: times are means of all runs.
2 - times are of a typical run (``typical_ms``); ``run_ms``, ``kernel``, ``index`` and ``outputs`` were added.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import AnyText, Meta

FORMAT_VERSION = 2

#: Untimed runs before those that are profiled.
WARM_UP = 3

#: The name of a node of ONNX Runtime's has those of what it was fused from.
Name = Annotated[str, Meta(max_length=1 << 16)]
_MOST_NODES = 1_000_000
_Ms = Annotated[float, Meta(ge=0, le=1e9)]

#: Columns of ``rows``; those that begin with ``>`` are numbers.
COLUMNS = ("Node", "Op", "Run by", ">ms", ">Share")


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """One op as the runtime runs it, after its own fusions.

    Attributes:
        name: of the node; of a ``.tflite``, of its first output. Where it is not known which node of the file it
            belongs to, the kernel and its place in the run.
        op_type: of the node, as the file names it; the kernel's own name where the node is not known.
        provider: what ran it: an execution provider, ``XNNPACK``, or ``LiteRT`` for a kernel of its own.
        ms: in a typical run (``typical_ms``), in milliseconds, including the cost of the record.
        share: of the time of all nodes, in [0, 1].
        kernel: of XNNPACK, with its own name (``Fully Connected (NC, F32) GEMM``); empty elsewhere.
        index: of the node in the main graph of a ``.tflite``; ``None`` where it is not known, and of an ``.onnx``.
        outputs: names of the tensors that this node of a ``.tflite`` makes.
    """

    __repr__ = short_repr

    name: Name
    op_type: Name
    provider: Name
    ms: _Ms
    share: Annotated[float, Meta(ge=0, le=1)]
    kernel: Name = ""
    index: Annotated[int, Meta(ge=0, le=_MOST_NODES)] | None = None
    outputs: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How the time of an artifact is spent.

    Attributes:
        artifact: name of the file.
        runtime: the runtime that ran it, with its version.
        num_threads: of the runtime; 0 where the default was used.
        num_runs: number of runs that the times are of.
        run_ms: median time of a whole run, in milliseconds, in these same runs.
        nodes: the slowest first.
    """

    __repr__ = short_repr

    artifact: str
    runtime: str
    num_threads: int
    num_runs: int
    run_ms: float
    nodes: tuple[NodeTime, ...]

    @property
    def share_of_run(self) -> float:
        """The time of all nodes over that of a whole run; the rest is the runtime's own work between them."""
        return sum(node.ms for node in self.nodes) / self.run_ms if self.run_ms else 0.0

    def by_op(self) -> list[tuple[str, int, float, float]]:
        """Return the time by op: its name, number of nodes, milliseconds and share; the slowest first."""
        nodes: dict[str, list[NodeTime]] = {}
        for node in self.nodes:
            nodes.setdefault(node.op_type, []).append(node)
        summed = [(op, len(n), sum(x.ms for x in n), sum(x.share for x in n)) for op, n in nodes.items()]
        return sorted(summed, key=lambda entry: -entry[2])

    def rows(self, count: int = 15) -> list[list[str]]:
        """Return the slowest nodes for a table with ``COLUMNS``."""
        return [
            [
                n.name,
                n.op_type,
                f"{n.provider}: {n.kernel}" if n.kernel else n.provider,
                f"{n.ms:.3f}",
                f"{n.share:.1%}",
            ]
            for n in self.nodes[:count]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        ops = [dict(zip(("op_type", "nodes", "ms", "share"), entry, strict=True)) for entry in self.by_op()]
        return {"format_version": FORMAT_VERSION, **asdict(self), "ops": ops}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The answer of the process that profiled."""

    runtime: AnyText
    run_ms: _Ms
    nodes: Annotated[tuple[NodeTime, ...], Meta(max_length=_MOST_NODES)]


def typical_ms(times: Sequence[Sequence[float]], walls: Sequence[float]) -> list[float]:
    """Return the time of each op in a typical run: its share of the ops, times the median of what all ops took.

    So the times add up to a median, which medians of each op do not, also where other work slowed half of the runs.
    The share is the mean over the middle half of the runs by their time.

    Args:
        times: of each run, in milliseconds, of each op; the same ops in each.
        walls: of each run, how long it took as a whole.
    """
    sums = [sum(run) for run in times]
    order = sorted(range(len(walls)), key=walls.__getitem__)
    quarter = len(order) // 4
    middle = [run for run in order[quarter : len(order) - quarter] if sums[run]]
    whole = statistics.median(sums)
    return [
        whole * sum(times[run][op] / sums[run] for run in middle) / max(len(middle), 1) for op in range(len(times[0]))
    ]
