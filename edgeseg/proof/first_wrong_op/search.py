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

import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.text import escaped
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof.first_wrong_op.answer import FoundOp, InputOf, NamedOp, Partition, Seen, WrongOp, share
from edgeseg.proof.first_wrong_op.difference import ONE_STEP, Difference, difference
from edgeseg.proof.first_wrong_op.graph import CutGraph
from edgeseg.proof.first_wrong_op.onnx import OnnxCuts
from edgeseg.proof.first_wrong_op.tflite import TfliteCuts
from edgeseg.tflite.file import is_tflite

#: Runs a model file on a tensor and returns its first output, as float32 where it is quantized: for a ``ProofDevice``
#: ``lambda path, tensor: device.value(path, options, tensor, runs=n)``.
Run = Callable[[Path, NDArray[Any]], NDArray[Any]]

#: What float32 may do: a product rounds by 6e-8, another order of the sums of a whole model by 1e-5. A value that is
#: nearer than this is right, whatever computed it.
FLOAT32 = 1e-4

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
_LOST = 3  # times in a row that a device may be lost before it is taken for gone


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

    Example:
        >>> with open_device("ssh:pi5") as device:
        ...     found = find_wrong_op(
        ...         "unet.int8.tflite",
        ...         tensor,
        ...         on_device=lambda path, x: device.value(path, {"delegate": "libedgetpu.so.1"}, x, runs=3),
        ...         on_cpu=lambda path, x: device.value(path, {}, x),
        ...     )
        >>> print(found)
    """
    file = ModelFile.read(artifact)
    graph = (TfliteCuts if is_tflite(file.data) else OnnxCuts)(file.data)
    with tempfile.TemporaryDirectory(prefix="edgeseg-find-op-") as folder:
        search = _Search(graph, tensor, on_device, on_cpu, Path(folder), tell or (lambda line: None))
        search.begin(file.path)
        return search.answer([tuple(part) for part in partitions])


class _Unseen(Exception):
    """A part of the model does not run; the text says why."""


class _Search:
    """The values of a model that were compared, and the search among them."""

    def __init__(
        self,
        graph: CutGraph,
        tensor: NDArray[Any],
        on_device: Run,
        on_cpu: Run,
        folder: Path,
        tell: Callable[[str], None],
    ) -> None:
        self._graph, self._tensor, self._folder, self._tell = graph, tensor, folder, tell
        self._on_device, self._on_cpu = on_device, on_cpu
        self._errors: dict[int, Difference] = {}
        self._values: dict[int, Path] = {}  # what the device gave: large maps, on disk
        self._shapes: dict[int, tuple[int, ...]] = {graph.source: tensor.shape}
        self._unseen: dict[int, str] = {}
        self._rounding = self._steps = 0.0
        self._threshold = FLOAT32  # the error of a float value that an op does not make by rounding
        self._numbers = itertools.count()
        self._lost = 0

    def begin(self, artifact: Path) -> None:
        """Run the whole file on both."""
        got = self._on_device(artifact, self._tensor)
        self._keep(self._graph.output, got)
        self._compare(self._graph.output, got, self._on_cpu(artifact, self._tensor))

    def answer(self, partitions: Sequence[Sequence[int]]) -> WrongOp:
        """Search, and describe what was found."""
        output = self._errors[self._graph.output]
        if not output.reaches(FLOAT32):
            return WrongOp(
                outcome="agrees",
                ops=len(self._graph.ops),
                looked_at=1,
                output_error=output.relative,
                has_ids=output.is_share,
            )
        self._measure_rounding()
        found = self._search()
        described = None if found is None else self._describe(found, partitions)
        grows = self._growth() if described is None else ()
        return WrongOp(
            outcome="grows" if described is None else "found",
            ops=len(self._graph.ops),
            looked_at=len(self._errors),
            output_error=output.relative,
            has_ids=output.is_share,
            rounding=self._rounding,
            found=described,
            grows=grows,
            unseen=tuple(self._named(value) for value in sorted(self._unseen)),
            reason=next(iter(self._unseen.values()), ""),
        )

    def _search(self) -> int | None:
        """Return the value of a wrong op; ``None`` where none stands out."""
        allowed = self._threshold
        while self._errors[self._graph.output].reaches(allowed):
            value = self._first(allowed)
            if self._is_wrong(value):
                return value
            error = self._errors[value]
            if error.is_share or not math.isfinite(error.relative):
                return None  # what comes before it agrees, and it is right itself
            allowed = 2 * error.relative
        return None

    def _first(self, allowed: float) -> int:
        """Return a value that differs by more than is allowed, and that is made from values that do not."""
        ancestors = self._graph.ancestors
        wrong = self._graph.output
        suspects = set(ancestors[wrong])
        while True:
            others = [value for value in suspects if value != wrong and value not in self._unseen]
            if others:
                value = self._halving(suspects, others)
                error = self._error(value)
                if error is not None and error.reaches(allowed):
                    wrong = value
                    suspects &= ancestors[value]
                elif error is not None:
                    suspects -= ancestors[value]
                continue
            # An error may be gone again further on, behind a ReLU, so that its origin was dropped with what agrees.
            before = [v for v in self._before(wrong) if v != self._graph.source]
            earlier = next((v for v in before if (e := self._error(v)) is not None and e.reaches(allowed)), None)
            if earlier is not None:
                wrong, suspects = earlier, set(ancestors[earlier])
            elif not self._unseen.keys() & set(before):
                return wrong

    def _halving(self, suspects: set[int], others: Sequence[int]) -> int:
        """Return which value to look at; those that were looked at already cost nothing."""
        known = [value for value in others if value in self._errors] or others
        ancestors = self._graph.ancestors
        return min(known, key=lambda value: (abs(2 * len(suspects & ancestors[value]) - len(suspects)), value))

    def _is_wrong(self, value: int) -> bool:
        """Return whether an op is wrong by itself."""
        own = self._own_error(value)
        if own is None:
            before = [self._errors[v].relative for v in self._before(value) if v in self._errors]
            return self._errors[value].relative >= _JUMP * max(before, default=0.0)
        if own.is_share:
            return own.relative > _TIES
        if own.steps is not None:
            return own.relative >= FLOAT32 and own.steps > max(ONE_STEP, _MORE_STEPS * min(self._steps, _MOST_STEPS))
        return own.relative >= self._threshold

    def _measure_rounding(self) -> None:
        """Measure by how much an op rounds on the device: the median of some, of which one may be wrong."""
        cuts = self._graph.cuts
        sums = [v for v in cuts if any(part in self._graph.named(v).kind.lower() for part in _ROUNDING)]
        among = sums or list(cuts)
        chosen = [among[(2 * number + 1) * len(among) // (2 * _SAMPLES)] for number in range(_SAMPLES)]
        measured = [own for v in dict.fromkeys(chosen) if (own := self._own_error(v)) is not None]
        # The lower median: of two ops, one may be wrong.
        self._rounding = statistics.median_low([own.relative for own in measured] or [0.0])
        self._steps = statistics.median_low([own.steps for own in measured if own.steps is not None] or [0.0])
        most = _MOST_ROUNDING if len(measured) > 2 else _MOST_ROUNDING_OF_FEW
        self._threshold = max(FLOAT32, STANDS_OUT * min(self._rounding, most))

    def _error(self, value: int) -> Difference | None:
        """Return how far the model up to a value is from the CPU; ``None`` where it does not run on both."""
        if value not in self._errors:
            try:
                got = self._value(value)
                expected = self._run(self._on_cpu, self._tensor, self._write(value))
            except _Unseen as error:
                self._skip(value, error)
                return None
            self._compare(value, got, expected)
        return self._errors[value]

    def _own_error(self, value: int) -> Difference | None:
        """Return how far a value is from what the CPU makes of the device's own values before it."""
        before = self._before(value)
        try:
            given = {v: self._tensor if v == self._graph.source else self._value(v) for v in before}
            got = self._value(value)
        except _Unseen:
            return None
        data, fed = self._graph.part(value, given)
        assert fed is not None  # an op that depends on the input has something before it
        try:
            expected = self._run(self._on_cpu, fed, self._file(data))
        except _Unseen as error:
            self._tell(f"{self._named(value)}: the CPU does not run it alone: {error}")
            return None
        return difference(got, expected, axis=self._axis(got), step=self._graph.step(value))

    def _value(self, value: int) -> NDArray[Any]:
        """Return a value as the device gives it.

        Raises:
            _Unseen: it does not run the model up to there.
        """
        if value in self._unseen:
            raise _Unseen(self._unseen[value])
        if value not in self._values:
            try:
                self._keep(value, self._run(self._on_device, self._tensor, self._write(value)))
            except _Unseen as error:
                self._skip(value, error)
                raise
        return np.load(self._values[value])  # type: ignore[no-any-return]

    def _run(self, where: Run, tensor: NDArray[Any], path: Path) -> NDArray[Any]:
        try:
            result = where(path, tensor)
        except DeviceLost as error:  # a driver that crashes on this prefix, or a device that is gone
            self._lost += 1
            if self._lost == _LOST:
                raise
            raise _Unseen(_line(error)) from error
        except (InputError, BackendUnavailable) as error:
            raise _Unseen(_line(error)) from error
        finally:
            path.unlink()
        self._lost = 0
        return result

    def _before(self, value: int) -> tuple[int, ...]:
        """Return the nearest values before one that can be looked at."""
        cuts = [v for v in self._graph.cuts if v not in self._unseen]
        return self._graph.between(value, cuts)[1]

    def _write(self, value: int) -> Path:
        return self._file(self._graph.part(value, {})[0])

    def _file(self, data: bytes) -> Path:
        path = self._folder / f"part{next(self._numbers)}{self._graph.suffix}"
        path.write_bytes(data)
        return path

    def _keep(self, value: int, array: NDArray[Any]) -> None:
        path = self._folder / f"{value}.npy"
        np.save(path, array)
        self._values[value], self._shapes[value] = path, array.shape

    def _compare(self, value: int, got: NDArray[Any], expected: NDArray[Any]) -> None:
        found = difference(got, expected, axis=self._axis(expected), step=self._graph.step(value))
        self._errors[value] = found
        self._tell(f"up to {self._named(value)}: off by {share(found.relative)}")

    def _skip(self, value: int, error: _Unseen) -> None:
        if value not in self._unseen:
            self._unseen[value] = str(error)
            self._tell(f"up to {self._named(value)}: cannot be looked at: {error}")

    def _axis(self, array: NDArray[Any]) -> int:
        return self._graph.channel_axis(array.ndim)

    def _named(self, value: int) -> NamedOp:
        op = self._graph.named(value)
        made = value if value in op.outputs else op.outputs[0]
        return NamedOp(kind=op.kind, index=op.index, name=self._graph.name(made))

    def _describe(self, value: int, partitions: Sequence[Sequence[int]]) -> FoundOp:
        graph, error, own, before = self._graph, self._errors[value], self._own_error(value), self._before(value)
        between, _ = graph.between(value, [v for v in graph.cuts if v not in self._unseen])
        op = graph.named(value)
        places = [number for number, part in enumerate(partitions) if op.index in part]
        return FoundOp(
            op=self._named(value),
            inputs=tuple(
                InputOf(name=graph.name(v), shape=self._shape(v), error=self._error_before(v)) for v in before
            ),
            shape=self._shape(value),
            error=error.relative,
            own_error=None if own is None else own.relative,
            steps=error.steps,
            together=tuple(
                NamedOp(kind=other.kind, index=other.index, name=graph.name(other.outputs[0]))
                for other in between
                if other.index != op.index
            ),
            partition=_partition(partitions, places[0]) if places else None,
            on_cpu=bool(partitions) and not places,
        )

    def _error_before(self, value: int) -> float | None:
        if value == self._graph.source:
            return 0.0
        found = self._errors.get(value)
        return None if found is None else found.relative

    def _shape(self, value: int) -> tuple[int, ...]:
        return self._shapes.get(value) or self._graph.shape(value)

    def _growth(self) -> tuple[Seen, ...]:
        """Return the errors of the first and of the last op, without class ids."""
        next((True for value in self._graph.cuts if self._error(value) is not None), None)  # the first that can be seen
        seen = [v for v in self._graph.cuts if v in self._errors and not self._errors[v].is_share]
        return tuple(Seen(op=self._named(v), error=self._errors[v].relative) for v in dict.fromkeys(seen[:1] + seen[-1:]))


def _partition(partitions: Sequence[Sequence[int]], place: int) -> Partition:
    nodes = partitions[place]
    return Partition(number=place + 1, count=len(partitions), nodes=(min(nodes), max(nodes)))


def _line(error: Exception) -> str:
    return escaped(" ".join(str(error).split()), most=300).rstrip(".")
