"""Define where a proof is answered, and answer it on this machine, in processes of this Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from numpy.typing import NDArray

from edgeseg._internal.files import scratch_folder
from edgeseg._internal.json import WrongValue
from edgeseg.errors import DeviceLost
from edgeseg.proof.answering import npy_bytes
from edgeseg.proof.questions import Answers, Questions
from edgeseg.proof.worker import LONGEST_S, ValueRequest, read_answers, read_value
from edgeseg.runtime.process.exchange import ask

#: The module that a device runs to answer.
WORKER = "edgeseg.proof.worker"


class ProofDevice(Protocol):
    """Where artifacts are verified. A context: what it put on the device is removed at its end, also after an error.

    Attributes:
        name: ``local``, ``ssh:HOST`` or ``adb:SERIAL``.
    """

    name: str

    def __enter__(self) -> ProofDevice: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
        """Run an artifact on the images of a proof, in one process.

        Args:
            artifact: a file of this computer.
            options: keywords of ``edgeseg.runtime.open_backend``.
            proof: a ``.proof.zip`` of this computer.
            order: the index of the image of each run.

        Raises:
            InputError: the artifact or a setting is wrong, or the proof is of another model.
            BackendUnavailable: the device does not have the requested backend or accelerator.
            DeviceLost: the device went away, or the process died; the text says what is known.
        """
        ...

    def value(self, artifact: Path, options: Mapping[str, Any], tensor: NDArray[Any], *, runs: int = 1) -> NDArray[Any]:
        """Run a model on a tensor, in one process.

        Args:
            artifact: a file of this computer.
            options: keywords of ``edgeseg.runtime.open_backend``.
            tensor: as the model takes it.
            runs: how often it is run on the tensor; the last output counts.

        Returns:
            The first output, as float32 where it is quantized.

        Raises:
            InputError: the model or a setting is wrong.
            BackendUnavailable: the device does not have the requested backend or accelerator.
            DeviceLost: the device went away, or the process died; the text says what is known.
        """
        ...


class ThisMachine:
    """Answers in processes of this Python."""

    name = "local"

    def __enter__(self) -> ThisMachine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Do nothing: no file was copied."""

    def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
        """See ``ProofDevice.answers``."""
        questions = Questions(path=str(artifact), proof=str(proof), options=dict(options), order=tuple(order))
        try:
            return read_answers(ask(WORKER, dataclasses.asdict(questions), LONGEST_S, doing="verified"))
        except WrongValue as error:
            raise DeviceLost(f"what the process that verified '{artifact}' says cannot be right: {error}.") from error

    def value(self, artifact: Path, options: Mapping[str, Any], tensor: NDArray[Any], *, runs: int = 1) -> NDArray[Any]:
        """See ``ProofDevice.value``."""
        with scratch_folder() as folder:
            file = folder / "tensor.npy"
            file.write_bytes(npy_bytes(tensor))
            request = ValueRequest(path=str(artifact), tensor=str(file), options=dict(options), runs=runs)
            try:
                return read_value(ask(WORKER, dataclasses.asdict(request), LONGEST_S, doing="ran")).array()
            except WrongValue as error:
                raise DeviceLost(f"what the process that ran '{artifact}' says cannot be right: {error}.") from error
