"""Define ``Coverage``: what an accelerator takes of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted


@dataclass(frozen=True)
class LeftNode:
    """The nodes of one op that an accelerator does not take for one reason.

    Attributes:
        op: the op's name in the file's format; a custom op's own name.
        reason: why, as a sentence.
        nodes: their indices in the graph, from 0; empty where the runtime gives only a number.
        count: how many.
    """

    __repr__ = short_repr

    op: str
    reason: str
    nodes: tuple[int, ...]
    count: int


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What an accelerator takes of a model.

    Attributes:
        accelerator: its name in ``ACCELERATORS``.
        delegated: the number of nodes that it takes.
        total: the number of nodes in the model's main graph.
        partitions: the number of pieces in which it takes them; ``None`` when that is not known.
        cut: whether a node that it does not take is between nodes that it could take: every piece costs a hand-over.
        left: the nodes that it does not take, in the order of the graph.
        source: ``asked`` of the runtime that is installed here, or looked up in a ``table``.
        source_note: which runtime and version, or which document of which date.
    """

    __repr__ = short_repr

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
        """The coverage in a line: ``delegated 21 of 27 nodes in 5 partitions``."""
        text = f"delegated {self.delegated} of {counted(self.total, 'node')}"
        if self.partitions is None:
            return text
        return f"{text} in {self.partitions} partition{'' if self.partitions == 1 else 's'}"

    @property
    def left_ops(self) -> str:
        """The number of nodes not taken, by op: ``TILE x4, ARG_MAX x1``; empty when all are taken."""
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
    """Group the nodes that are not taken by op and reason.

    Args:
        ops: every node's op, in graph order.
        reasons: index of a node that is not taken to the reason.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index in sorted(reasons):
        groups.setdefault((ops[index], reasons[index]), []).append(index)
    return tuple(LeftNode(op, reason, tuple(nodes), len(nodes)) for (op, reason), nodes in groups.items())
