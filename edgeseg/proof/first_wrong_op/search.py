"""Search the first op of a model whose output a device gets wrong, as ``git bisect`` searches a commit.

The output of the model differs from the CPU's. What it depends on is halved: the value is chosen that as many values of
the rest come before as not, and the model up to there is run on the device and on the CPU. Where it differs, what comes
before it is kept, else what does not. One op is left whose output differs and whose inputs agree.

That an op is wrong is then shown by the op alone: the CPU computes it from what the device gave as its inputs. What the
device has there instead is the op's own error, without what earlier ops brought along or what it amplifies. How far a
right op is off in this way is measured at a few other ops of the model, so that a device that computes in half
precision, or that rounds integers its own way, is not taken for a wrong one. Where the op that was found is not wrong
by itself, the error has only added up: more of it is then allowed, and the search begins again; if it ends at the
output, no op stands out, and the answer says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeseg._internal.files import scratch_folder
from edgeseg._internal.limits.models import ModelFile
from edgeseg.errors import InputError
from edgeseg.proof.first_wrong_op.answer import FoundOp, InputOf, Partition, Seen, WrongOp
from edgeseg.proof.first_wrong_op.difference import FLOAT32, Difference
from edgeseg.proof.first_wrong_op.onnx import OnnxCuts
from edgeseg.proof.first_wrong_op.tflite import TfliteCuts
from edgeseg.proof.first_wrong_op.values import Run, Values
from edgeseg.runtime import SUFFIXES
from edgeseg.tflite.file import is_tflite

#: A wrong op is off by more than so many times what an op of the model rounds by. In the packaged model with weights
#: rounded to 8 bits, the op that rounds most is off by 7 times the median; the median of five may be half of that of
#: all. In half precision it makes 2 %.
STANDS_OUT = 16.0

# The most that an op rounds by in any arithmetic that accelerators have: bfloat16, with 8 bits, moves half of the ops
# of the packaged model by 1 %. Where fewer than three could be measured, and one of them may be the wrong one, no more
# is believed than half precision does, with 11 bits.
_MOST_ROUNDING, _MOST_ROUNDING_OF_FEW = 2.0**-6, 2.0**-9

# Steps of its scale by which a right integer op may be off from its own inputs, in steps of what the median op is: one
# that rounds otherwise is off by one, one that a delegate computes in float too. What is measured is capped as above.
_MORE_STEPS, _MOST_STEPS = 3.0, 2.0

# Class ids of an argmax that has the device's own scores before it: those of equal scores may differ, and in half
# precision or in integers some are equal.
_TIES = 0.01

# An op that the CPU cannot run alone is wrong where its output is off so many times more than its inputs.
_JUMP = 4.0

_SAMPLES = 5  # ops at which rounding is measured
_ROUNDING = ("conv", "matmul", "gemm", "fully_connected")  # in the names of ops that add up products


def find_wrong_op(
    artifact: str | Path,
    tensor: NDArray[Any],
    *,
    on_device: Run,
    on_cpu: Run,
    partitions: Sequence[Sequence[int]] = (),
    tell: Callable[[str], None] | None = None,
) -> WrongOp:
    """Find the first op of a model that a device gets wrong.

    Args:
        artifact: a ``.tflite`` or ``.onnx`` file.
        tensor: an image as the model takes it, for which its output is wrong.
        on_device: runs a file on the device, as often as it takes to be wrong.
        on_cpu: runs a file where it is right.
        partitions: the indices of the nodes in each partition of the device's delegate, where they are known; see
            ``edgeseg.tflite.graph.partitions``.
        tell: is given a line for each part of the model that was compared.

    Returns:
        The op; or that nothing differs, or that no op stands out.

    Raises:
        InputError: the file is broken, was compiled by a vendor and runs only whole, has more than one input, or does
            not take the tensor.
        BackendUnavailable: the package that cuts the file is not installed; the device lacks what it is asked for.
        DeviceLost: the device went away.

    Examples:
        >>> with open_device("ssh:pi5") as device:
        ...     found = find_wrong_op(
        ...         "unet.int8.tflite",
        ...         tensor,
        ...         on_device=lambda path, x: device.value(path, {"delegate": "libedgetpu.so.1"}, x, runs=3),
        ...         on_cpu=lambda path, x: device.value(path, {}, x),
        ...     )
        >>> print(found)
    """
    if SUFFIXES.get(Path(artifact).suffix.lower()) in ("mnn", "openvino"):
        raise InputError(
            f"'{artifact}' cannot be cut to find a wrong op: edgeseg cuts .tflite and .onnx files. Export the model to "
            "one of them, and ask that file."
        )
    file = ModelFile.read(artifact)
    graph = (TfliteCuts if is_tflite(file.data) else OnnxCuts)(file.data)
    with scratch_folder("edgeseg-find-op-") as folder:
        values = Values(graph, tensor, on_device, on_cpu, folder, tell or (lambda line: None))
        values.run_whole(file.path)
        return _Search(values).answer([tuple(part) for part in partitions])


class _Search:
    """The search among the values of a model whose output was compared."""

    def __init__(self, values: Values) -> None:
        self._values, self._graph = values, values.graph
        self._rounding: float | None = None
        self._steps = 0.0
        self._threshold = FLOAT32  # the error of a float value that an op does not make by rounding

    def answer(self, partitions: Sequence[Sequence[int]]) -> WrongOp:
        """Search, and describe what was found."""
        values, output = self._values, self._values.errors[self._graph.output]
        found: int | None = None
        growth: tuple[Seen, ...] = ()
        if not output.is_rounding:
            self._measure_rounding()
            found = self._search()
            growth = self._growth() if found is None else ()
        return WrongOp(
            outcome="agrees" if output.is_rounding else "grows" if found is None else "found",
            ops=len(self._graph.ops),
            looked_at=len(values.errors),
            output_error=output.relative,
            has_ids=output.is_share,
            rounding=self._rounding,
            found=None if found is None else self._describe(found, partitions),
            grows=growth,
            unseen=tuple(values.named(value) for value in sorted(values.unseen)),
            reason=next(iter(values.unseen.values()), ""),
        )

    def _search(self) -> int | None:
        """Return the value of a wrong op; ``None`` where none stands out."""
        allowed = self._threshold
        while self._values.errors[self._graph.output].reaches(allowed):
            value = self._first(partial(Difference.reaches, threshold=allowed))
            if self._is_wrong(value):
                return value
            error = self._values.errors[value]
            if error.is_share or not math.isfinite(error.relative):
                return None  # what comes before it agrees, and it is right itself
            allowed = 2 * error.relative
        return None

    def _first(self, differs: Callable[[Difference], bool]) -> int:
        """Return a value that differs, as the output does, and that is made from values that do not."""
        ancestors, values = self._graph.ancestors, self._values
        wrong = self._graph.output
        suspects = set(ancestors[wrong])
        while True:
            others = [value for value in suspects if value != wrong and value not in values.unseen]
            if others:
                value = self._halving(suspects, others)
                error = values.error(value)
                if error is not None and differs(error):
                    wrong = value
                    suspects &= ancestors[value]
                elif error is not None:
                    suspects -= ancestors[value]
                continue
            # An error may be gone again further on, after a ReLU, so that its origin was dropped with what agrees.
            before = [value for value in values.before(wrong) if value != self._graph.source]
            earlier = next((v for v in before if (e := values.error(v)) is not None and differs(e)), None)
            if earlier is not None:
                wrong, suspects = earlier, set(ancestors[earlier])
            elif values.unseen.keys().isdisjoint(before):  # else there are others before it
                return wrong

    def _halving(self, suspects: set[int], others: Sequence[int]) -> int:
        """Return which value to look at; those that were looked at already cost nothing."""
        known = [value for value in others if value in self._values.errors] or others
        ancestors = self._graph.ancestors
        return min(known, key=lambda value: (abs(2 * len(suspects & ancestors[value]) - len(suspects)), value))

    def _is_wrong(self, value: int) -> bool:
        """Return whether an op is wrong by itself."""
        own, errors = self._values.own_error(value), self._values.errors
        if own is None:
            before = [errors[v].relative for v in self._values.before(value) if v in errors]
            return errors[value].relative >= _JUMP * max(before, default=0.0)
        if own.is_share:
            return own.relative > _TIES
        if own.steps is not None:
            return not own.is_rounding and own.steps > _MORE_STEPS * min(self._steps, _MOST_STEPS)
        return own.relative >= self._threshold

    def _measure_rounding(self) -> None:
        """Measure by how much an op rounds on the device: the median of some, of which one may be wrong."""
        cuts = self._graph.cuts
        sums = [v for v in cuts if any(part in self._graph.named(v).kind.lower() for part in _ROUNDING)]
        among = sums or list(cuts)
        chosen = [among[(2 * number + 1) * len(among) // (2 * _SAMPLES)] for number in range(_SAMPLES)]
        measured = [own for v in dict.fromkeys(chosen) if (own := self._values.own_error(v)) is not None]
        if not measured:
            return
        # The lower median: of two ops, one may be wrong.
        self._rounding = statistics.median_low(own.relative for own in measured)
        self._steps = statistics.median_low([own.steps for own in measured if own.steps is not None] or [0.0])
        most = _MOST_ROUNDING if len(measured) > 2 else _MOST_ROUNDING_OF_FEW
        self._threshold = max(FLOAT32, STANDS_OUT * min(self._rounding, most))

    def _describe(self, value: int, partitions: Sequence[Sequence[int]]) -> FoundOp:
        values, op = self._values, self._values.named(value)
        error, own = values.errors[value], values.own_error(value)
        places = [number for number, part in enumerate(partitions) if op.index in part]
        return FoundOp(
            op=op,
            inputs=tuple(
                InputOf(name=self._graph.name(v), shape=values.shape(v), error=self._error_before(v))
                for v in values.before(value)
            ),
            shape=values.shape(value),
            error=error.relative,
            own_error=None if own is None else own.relative,
            steps=error.steps,
            together=values.together(value),
            partition=_partition(partitions, places[0]) if places else None,
            on_cpu=bool(partitions) and not places,
        )

    def _error_before(self, value: int) -> float | None:
        found = self._values.errors.get(value)
        return 0.0 if value == self._graph.source else None if found is None else found.relative

    def _growth(self) -> tuple[Seen, ...]:
        """Return where an error begins, and the error of the last op that is no class ids."""
        values = self._values
        if self._rounding == 0:  # ops are right to the last bit, and one is not: a step of an integer may matter
            begin = self._first(lambda error: error.relative > 0)
        else:
            begin = next((v for v in self._graph.cuts if values.error(v) is not None), self._graph.output)
        seen = [v for v in self._graph.cuts if v in values.errors and not values.errors[v].is_share]
        return tuple(
            Seen(op=values.named(v), error=values.errors[v].relative) for v in dict.fromkeys([begin, *seen[-1:]])
        )


def _partition(partitions: Sequence[Sequence[int]], place: int) -> Partition:
    nodes = partitions[place]
    return Partition(number=place + 1, count=len(partitions), nodes=(min(nodes), max(nodes)))
