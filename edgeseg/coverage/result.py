"""``Coverage``: what an accelerator takes of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class LeftNode:
    """Gather the nodes of one op that an accelerator leaves for one reason.

    Attributes:
        op: the op's name in the file's format; a custom op's own name.
        reason: why, as a sentence.
        nodes: their places in the graph, counted from 0; empty where the runtime tells a number and no names.
        count: how many.
    """

    op: str
    reason: str
    nodes: tuple[int, ...]
    count: int


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Hold what an accelerator takes of a model.

    Attributes:
        accelerator: its name in ``ACCELERATORS``.
        delegated: how many nodes it takes.
        total: how many nodes the model's main graph has.
        partitions: in how many pieces it takes them; ``None`` when that is not known.
        cut: whether a node that it leaves is between nodes that it could take: every piece costs a hand-over.
        left: what it leaves, in the order of the graph.
        source: ``asked`` of the runtime that is installed here, or read in a ``table``.
        source_note: which runtime and version, or which document of which date.
    """

    accelerator: str
    delegated: int
    total: int
    partitions: int | None
    cut: bool
    left: tuple[LeftNode, ...]
    source: Literal["asked", "table"]
    source_note: str

    @property
    def summary(self) -> str:
        """Say it in a line: ``delegated 21 of 27 nodes in 5 partitions``."""
        text = f"delegated {self.delegated} of {self.total} nodes"
        if self.partitions is None:
            return text
        return f"{text} in {self.partitions} partition{'' if self.partitions == 1 else 's'}"

    @property
    def left_ops(self) -> str:
        """Count what is left by op: ``TILE x4, ARG_MAX x1``; empty when nothing is left."""
        counts: dict[str, int] = {}
        for left in self.left:
            counts[left.op] = counts.get(left.op, 0) + left.count
        return ", ".join(f"{op} x{count}" for op, count in counts.items())

    def to_dict(self) -> dict[str, Any]:
        """Return one entry of ``coverage`` in the JSON of ``inspect`` and ``export``."""
        left = [{"op": n.op, "reason": n.reason, "count": n.count, "nodes": list(n.nodes)} for n in self.left]
        return {
            "accelerator": self.accelerator,
            "delegated": self.delegated,
            "total": self.total,
            "partitions": self.partitions,
            "cut": self.cut,
            "left": left,
            "source": self.source,
            "source_note": self.source_note,
        }


def grouped(ops: Sequence[str], reasons: Mapping[int, str]) -> tuple[LeftNode, ...]:
    """Gather the nodes that are left by op and reason.

    Args:
        ops: every node's op, in graph order.
        reasons: place of a node that is left to why.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index in sorted(reasons):
        groups.setdefault((ops[index], reasons[index]), []).append(index)
    return tuple(LeftNode(op, reason, tuple(nodes), len(nodes)) for (op, reason), nodes in groups.items())
