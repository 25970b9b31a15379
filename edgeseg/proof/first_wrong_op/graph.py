"""Define a model's graph as it can be cut: its ops, the values between them, and where a part of it may begin and end.

A value is a tensor that depends on the model's input, given by a number. A part of the graph is what makes one value
from others, written as a model of its own; a prefix is one that makes a value from the model's input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from edgeseg.errors import InputError

#: Ops that change how numbers are written and compute nothing: where several ops are looked at as one, another one of
#: them is named.
_PASSIVE = ("QUANTIZE", "DEQUANTIZE", "CAST", "QuantizeLinear", "DequantizeLinear", "Cast", "Identity")


@dataclass(frozen=True, kw_only=True)
class Op:
    """An op of a file.

    Attributes:
        index: its place in the file.
        kind: its name in the file's format; a custom op's own.
        inputs: numbers of the values and constants that it reads.
        outputs: numbers of the values that it makes.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class CutGraph(ABC):
    """The graph of a model with one input; a file's first output is the one that is looked at.

    Attributes:
        suffix: of the file's format.
        ops: all ops, in the order of execution.
        source: the number of the model's input.
        output: the number of the model's first output.
    """

    suffix: str

    def __init__(self, ops: Sequence[Op], source: int, output: int) -> None:
        self.ops, self.source, self.output = tuple(ops), source, output
        self._made_by = {value: op for op in ops for value in op.outputs}
        depends = {source}
        for op in ops:
            if not depends.isdisjoint(op.inputs):
                depends.update(op.outputs)
        self._depends = depends
        if output not in depends or output == source:
            raise InputError("the model's output does not depend on its input: there is no op to be found.")

    @abstractmethod
    def name(self, value: int) -> str:
        """Return the name of a value in the file."""

    @abstractmethod
    def shape(self, value: int) -> tuple[int, ...]:
        """Return the shape of a value as far as the file says it; -1 where it does not."""

    @abstractmethod
    def step(self, value: int) -> float:
        """Return the difference of neighboring values of a quantized value; 0 where it is not quantized."""

    @abstractmethod
    def is_cut(self, value: int) -> bool:
        """Return whether the graph may be cut at a value: it has numbers that can be compared and fed."""

    @abstractmethod
    def channel_axis(self, rank: int) -> int:
        """Return the axis of the channels of a value with so many axes."""

    @abstractmethod
    def part(self, value: int, given: Mapping[int, NDArray[Any]]) -> tuple[bytes, NDArray[Any] | None]:
        """Write a part of the graph as a model.

        Args:
            value: the model's one output.
            given: values that it begins from, as a runtime gave them; without any the model's own input. The largest
                one is the input of the part, the others are constants in it.

        Returns:
            The file, and what it is fed with where it does not begin at the model's own input.
        """

    def maker(self, value: int) -> Op:
        """Return the op that makes a value."""
        return self._made_by[value]

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Return the values where the graph may be cut and that the output depends on, in the order of execution."""
        needed = {value for op in self._walk(self.output, ())[0] for value in op.outputs}
        return tuple(v for op in self.ops for v in op.outputs if v in needed & self._depends and self._may_cut(v))

    @cached_property
    def ancestors(self) -> Mapping[int, frozenset[int]]:
        """Return for each of ``cuts`` those that it depends on, and itself."""
        found: dict[int, frozenset[int]] = {}
        for value in self.cuts:
            _, before = self._walk(value, self.cuts)
            found[value] = frozenset({value}).union(*(found[v] for v in before if v != self.source))
        return found

    def between(self, value: int, cuts: Collection[int]) -> tuple[tuple[Op, ...], tuple[int, ...]]:
        """Return the ops that make a value from the nearest cuts before it, and those cuts; the source is one."""
        ops, before = self._walk(value, cuts)
        return tuple(op for op in ops if not self._depends.isdisjoint(op.inputs)), before

    def named(self, value: int) -> Op:
        """Return the op to name for a value: of those since the cuts before it the first that computes something."""
        ops, _ = self.between(value, self.cuts)
        return next((op for op in ops if op.kind not in _PASSIVE), ops[-1])

    def needed(self, value: int, given: Collection[int]) -> list[Op]:
        """Return all ops that make a value from given ones, those of constants too."""
        return self._walk(value, given)[0]

    def _may_cut(self, value: int) -> bool:
        return value == self.output or self.is_cut(value)

    def _walk(self, value: int, stops: Collection[int]) -> tuple[list[Op], tuple[int, ...]]:
        stops, ops, before = set(stops), {}, {}
        pending = [value]
        while pending:
            at = pending.pop()
            if at == self.source or (at in stops and at != value):
                before[at] = True
            elif (op := self._made_by.get(at)) is not None and op.index not in ops:
                ops[op.index] = op
                pending += op.inputs
        return [ops[index] for index in sorted(ops)], tuple(sorted(before))


def largest(given: Mapping[int, NDArray[Any]]) -> int | None:
    """Return which of the given values is fed; ``None`` without any."""
    return max(given, key=lambda value: given[value].size, default=None)
