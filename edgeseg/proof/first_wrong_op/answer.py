"""Define the answer of the search for a wrong op, as a sentence and for JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted, escaped

#: ``found``: an op is wrong by itself; ``grows``: the output differs and no op stands out; ``agrees``: it does not.
Outcome = Literal["found", "grows", "agrees"]

_NAMED = 3  # ops in a sentence


@dataclass(frozen=True, kw_only=True)
class NamedOp:
    """An op of a file, as a person finds it.

    Attributes:
        kind: its name in the file's format (``CONV_2D``); a custom op's own.
        index: its place in the file, from 0.
        name: of the tensor that it makes, which is most often the name of its layer.
    """

    kind: str
    index: int
    name: str

    def __str__(self) -> str:
        """Return ``CONV_2D 'head/conv' (node 37)``."""
        return f"{escaped(self.kind, most=80)} '{escaped(self.name, most=120)}' (node {self.index})"


@dataclass(frozen=True, kw_only=True)
class InputOf:
    """A value that a wrong op is made from.

    Attributes:
        name: of the tensor.
        shape: of it.
        error: how far the device's is from the CPU's; 0 for the model's input, ``None`` where it could not be looked
            at.
    """

    name: str
    shape: tuple[int, ...]
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The part of a model that a delegate got in one piece.

    Attributes:
        number: of the partition, from 1.
        count: how many there are.
        nodes: the indices of the first and the last node in it.
    """

    number: int
    count: int
    nodes: tuple[int, int]

    def __str__(self) -> str:
        """Return ``partition 2 of 3, nodes 14 to 37``."""
        first, last = self.nodes
        where = f"node {first}" if first == last else f"nodes {first} to {last}"
        return f"partition {self.number} of {self.count}, {where}"


@dataclass(frozen=True, kw_only=True)
class FoundOp:
    """The op that is wrong.

    Attributes:
        op: the op.
        inputs: the values that it is made from.
        shape: of its output.
        error: how far its output is from the CPU's: the largest RMS of the difference in a channel, over the RMS of the
            tensor; infinite where one is no number.
        own_error: the same from what the CPU makes of the device's own inputs of the op, so that the error is the
            op's own; ``None`` where the CPU cannot run it alone.
        steps: the largest difference in steps of the output's scale, where it is quantized.
        together: ops that could not be told apart from it.
        partition: of the delegate that it is in, where that is known.
        on_cpu: whether partitions are known and it is in none.
    """

    __repr__ = short_repr

    op: NamedOp
    inputs: tuple[InputOf, ...]
    shape: tuple[int, ...]
    error: float
    own_error: float | None
    steps: float | None = None
    together: tuple[NamedOp, ...] = ()
    partition: Partition | None = None
    on_cpu: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was measured at an op.

    Attributes:
        op: the op.
        error: see ``FoundOp``.
    """

    op: NamedOp
    error: float


@dataclass(frozen=True, kw_only=True)
class WrongOp:
    """What the search for a wrong op found.

    Attributes:
        outcome: whether an op was found.
        ops: how many ops the file has.
        looked_at: how many prefixes of the graph were compared.
        output_error: how far the model's output is from the CPU's; see ``FoundOp``. Of class ids the share that
            differs.
        has_ids: whether the output is class ids.
        rounding: by how much an op of the model rounds on the device, the median of a few; ``None`` where it was not
            measured.
        found: the op, where the outcome is ``found``.
        grows: where nothing stands out, the op at which an error begins, and the last one that gives no class ids.
        unseen: the ops whose output could not be looked at on the device.
        reason: why the first of ``unseen`` could not.
        changes: whether the device answered images in different ways, so that what it ran before matters.
    """

    __repr__ = short_repr

    outcome: Outcome
    ops: int
    looked_at: int
    output_error: float
    has_ids: bool = False
    rounding: float | None = None
    found: FoundOp | None = None
    grows: tuple[Seen, ...] = ()
    unseen: tuple[NamedOp, ...] = ()
    reason: str = ""
    changes: bool = False

    def __str__(self) -> str:
        """Return sentences for a terminal, with a full stop each."""
        text = {"found": self._found, "grows": self._grows, "agrees": self._agrees}[self.outcome]()
        if self.unseen:
            named = ", ".join(map(str, self.unseen[:_NAMED])) + (", ..." if len(self.unseen) > _NAMED else "")
            text += f" Not looked at, as the device does not run the model up to there: {named} ({self.reason})."
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an infinite error is ``None``."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]

    def _found(self) -> str:
        found = self.found
        assert found is not None
        shapes = " and ".join(_shape(one.shape) for one in found.inputs)
        where = f", {found.partition}" if found.partition else ", which the delegate leaves to the CPU" * found.on_cpu
        text = f"the first wrong op is {found.op} of {self.ops}, {shapes} to {_shape(found.shape)}{where}: "
        if found.own_error is not None:
            text += f"from the device's own inputs the CPU gives an output that is off by {share(found.own_error)}"
        else:
            text += "the CPU does not run it alone"
        text += f"; from the model's input {_inputs(found.inputs)}, and its output by {share(found.error)}"
        if found.steps is not None:
            text += f" ({found.steps:.1f} steps of its scale at most)"
        text += f". {self._output()[0].upper()}{self._output()[1:]}"
        text += f"; an op rounds by {share(self.rounding)}." if self.rounding is not None else "."
        if found.together:
            named = ", ".join(map(str, found.together[:_NAMED]))
            text += f" It could not be told apart from {named}{', ...' if len(found.together) > _NAMED else ''}."
        return text

    def _grows(self) -> str:
        text = f"no op stands out: {self._output()}"
        if self.grows:
            first, last = self.grows[0], self.grows[-1]
            text += f"; the error begins with {share(first.error)} at {first.op}"
            text += f" and is {share(last.error)} at {last.op}" if last != first else ""
        if self.rounding is not None:
            text += f"; an op rounds by {share(self.rounding)}"
        return f"{text}. {self.looked_at} of {counted(self.ops, 'op')} were looked at."

    def _agrees(self) -> str:
        text = f"nothing differs from the CPU of this computer: on this image {self._output()}, which is rounding"
        if self.changes:
            return (
                f"{text}. But the device answers an image in different ways, by what it ran before: no op is found on "
                "one image."
            )
        return f"{text}; so it is the file that is wrong, and not where it runs."

    def _output(self) -> str:
        if self.has_ids:
            return f"{share(self.output_error)} of the model's class ids differ"
        return f"the model's output is off by {share(self.output_error)}"


def share(error: float) -> str:
    """Return an error for people: ``12%``, ``0.03%``, ``2e-06``."""
    if error == 0:
        return "0"
    if error > 10:
        return f"{error:.0f} times its size" if error < float("inf") else "numbers that are none (NaN or infinite)"
    return f"{error:.2g}" if error < 1e-4 else f"{100 * error:.2g}%" if error < 0.1 else f"{error:.0%}"


def _inputs(inputs: tuple[InputOf, ...]) -> str:
    errors = [one.error for one in inputs if one.error is not None]
    if not errors:
        return "its inputs could not be looked at"
    whose = "its input is" if len(inputs) == 1 else f"its {len(inputs)} inputs are"
    return f"{whose} off by {'up to ' if len(errors) > 1 else ''}{share(max(errors))}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
