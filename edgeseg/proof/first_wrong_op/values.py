"""Run parts of a model on a device and on the CPU, and compare the values that they give."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import escaped
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof.answering import npy_bytes
from edgeseg.proof.first_wrong_op.answer import NamedOp, share
from edgeseg.proof.first_wrong_op.difference import Difference, difference
from edgeseg.proof.first_wrong_op.graph import CutGraph

#: Runs a model file on a tensor and returns its first output, as float32 where it is quantized: for a ``ProofDevice``
#: ``lambda path, tensor: device.value(path, options, tensor, runs=n)``.
Run = Callable[[Path, NDArray[Any]], NDArray[Any]]

_LOST = 3  # times in a row that a device may be lost before it is taken for gone
_KEPT = 1 << 30  # bytes of values that are kept, on disk; others are run again when they are needed again


class _Unseen(Exception):
    """A part of the model does not run; the text says why."""


class Values:
    """The values of a model, each computed by a prefix when it is asked for.

    Attributes:
        graph: the model.
        errors: how far the values that were compared are from the CPU's.
        unseen: the values that cannot be looked at, and why.
    """

    def __init__(
        self,
        graph: CutGraph,
        tensor: NDArray[Any],
        on_device: Run,
        on_cpu: Run,
        folder: Path,
        tell: Callable[[str], None],
    ) -> None:
        """Begin with none.

        Args:
            graph: the model.
            tensor: its input.
            on_device: runs a file on the device.
            on_cpu: runs a file where it is right.
            folder: an empty one, for parts and values.
            tell: is given a line for each value.
        """
        self.graph = graph
        self.errors: dict[int, Difference] = {}
        self.unseen: dict[int, str] = {}
        self._tensor, self._on_device, self._on_cpu = tensor, on_device, on_cpu
        self._folder, self._tell = folder, tell
        self._own_errors: dict[int, Difference | None] = {}
        self._kept: dict[int, int] = {}  # the sizes of the files
        self._shapes: dict[int, tuple[int, ...]] = {graph.source: tensor.shape}
        self._numbers = itertools.count()
        self._lost = 0

    def run_whole(self, artifact: Path) -> Difference:
        """Compare the model's output.

        Raises:
            EdgesegError: what the device raises; InputError: the CPU does not run the model.
        """
        got = self._on_device(artifact, self._tensor)
        self._keep(self.graph.output, got)
        try:
            expected = self._on_cpu(artifact, self._tensor)
        except (InputError, BackendUnavailable) as error:
            raise InputError(
                f"'{artifact}' cannot be compared op by op: the CPU, which says what is right, does not run it "
                f"({_line(error)}); look for the op in a file that both run, as before a vendor's compiler."
            ) from error
        return self._compare(self.graph.output, got, expected)

    def error(self, value: int) -> Difference | None:
        """Return how far the model up to a value is from the CPU; ``None`` where it does not run on both."""
        if value not in self.errors and value not in self.unseen:
            try:
                got = self._value(value)
                expected = self._run(self._on_cpu, self._tensor, self._prefix(value))
            except _Unseen as error:
                self._skip(value, error)
            else:
                self._compare(value, got, expected)
        return self.errors.get(value)

    def own_error(self, value: int) -> Difference | None:
        """Return how far a value is from what the CPU makes of the device's own values before it.

        Returns:
            ``None`` where the device does not give them, or the CPU does not run the ops alone.
        """
        if value not in self._own_errors:
            self._own_errors[value] = self._measure_own_error(value)
        return self._own_errors[value]

    def before(self, value: int) -> tuple[int, ...]:
        """Return the nearest values before one that can be looked at; the model's input is one."""
        return self.graph.between(value, self._seen())[1]

    def together(self, value: int) -> tuple[NamedOp, ...]:
        """Return the ops since then, without the one that is named for the value."""
        ops, _ = self.graph.between(value, self._seen())
        named = self.named(value)
        others = (NamedOp(kind=op.kind, index=op.index, name=self.graph.name(op.outputs[0])) for op in ops)
        return tuple(other for other in others if other.index != named.index)

    def named(self, value: int) -> NamedOp:
        """Return the op that makes a value, for people."""
        op = self.graph.named(value)
        made = value if value in op.outputs else op.outputs[0]
        return NamedOp(kind=op.kind, index=op.index, name=self.graph.name(made))

    def shape(self, value: int) -> tuple[int, ...]:
        """Return the shape of a value, as it was or else as the file has it."""
        return self._shapes.get(value) or self.graph.shape(value)

    def _measure_own_error(self, value: int) -> Difference | None:
        source = self.graph.source
        try:
            given = {v: self._tensor if v == source else self._value(v) for v in self.before(value)}
            got = self._value(value)
            data, fed = self.graph.part(value, given)
            assert fed is not None  # an op that depends on the input has something before it
            expected = self._run(self._on_cpu, fed, self._file(data))
        except _Unseen as error:
            self._tell(f"{self.named(value)} alone: cannot be looked at: {error}")
            return None
        return self._difference(value, got, expected)

    def _seen(self) -> list[int]:
        return [value for value in self.graph.cuts if value not in self.unseen]

    def _value(self, value: int) -> NDArray[Any]:
        """Return a value as the device gives it.

        Raises:
            _Unseen: it does not run the model up to there.
        """
        if value in self.unseen:
            raise _Unseen(self.unseen[value])
        if value in self._kept:
            return np.load(self._path(value), allow_pickle=False)  # type: ignore[no-any-return]
        try:
            array = self._run(self._on_device, self._tensor, self._prefix(value))
        except _Unseen as error:
            self._skip(value, error)
            raise
        self._keep(value, array)
        return array

    def _run(self, where: Run, tensor: NDArray[Any], path: Path) -> NDArray[Any]:
        try:
            result = where(path, tensor)
        except DeviceLost as error:  # a driver that crashes on this part, or a device that is gone
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

    def _prefix(self, value: int) -> Path:
        return self._file(self.graph.part(value, {})[0])

    def _file(self, data: bytes) -> Path:
        path = self._folder / f"part{next(self._numbers)}{self.graph.suffix}"
        path.write_bytes(data)
        return path

    def _path(self, value: int) -> Path:
        return self._folder / f"{value}.npy"

    def _keep(self, value: int, array: NDArray[Any]) -> None:
        self._path(value).write_bytes(npy_bytes(array))
        self._kept[value], self._shapes[value] = array.nbytes, array.shape
        while sum(self._kept.values()) > _KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._path(oldest).unlink()

    def _compare(self, value: int, got: NDArray[Any], expected: NDArray[Any]) -> Difference:
        found = self._difference(value, got, expected)
        self.errors[value] = found
        self._tell(f"up to {self.named(value)}: off by {share(found.relative)}")
        return found

    def _difference(self, value: int, got: NDArray[Any], expected: NDArray[Any]) -> Difference:
        axis = self.graph.channel_axis(expected.ndim)
        return difference(got, expected, axis=axis, step=self.graph.step(value))

    def _skip(self, value: int, error: _Unseen) -> None:
        if value not in self.unseen:
            self.unseen[value] = str(error)
            self._tell(f"up to {self.named(value)}: cannot be looked at: {error}")


def _line(error: Exception) -> str:
    return escaped(" ".join(str(error).split()), most=300).rstrip(".")
