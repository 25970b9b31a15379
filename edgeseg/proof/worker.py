"""Answer the questions of a proof in a process of its own, on the device that runs the artifact.

    python -m edgeseg.proof.worker < request.json

A request for a value serves the search for a wrong op: the first output of a part of a model, as it is.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import os
import sys
import zlib
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.json import Finite, Int64, Meta, WrongValue, decode
from edgeseg._internal.limits.models import TRIAL_VARIABLE, max_model_memory
from edgeseg.proof.answering import answer_proof, require_taken
from edgeseg.proof.file import read_proof
from edgeseg.proof.questions import Answers, Questions
from edgeseg.runtime import Backend, open_backend
from edgeseg.runtime.base import dequantized
from edgeseg.runtime.process.exchange import answer, raise_refusal

#: Seconds that a process may take for opening a model and running the images: a GPU compiles its kernels for minutes,
#: and a large model takes a minute for an image on a small board.
LONGEST_S = 3600.0

#: Bytes of an answer: a value of a model of full HD, or the class maps of all runs of an accelerator that never says
#: the same twice.
MAX_ANSWER_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class ValueRequest:
    """What one process on a device runs to give a value.

    Attributes:
        path: a model, on the device.
        tensor: a ``.npy`` file, on the device: the input as the model takes it.
        options: keywords of ``edgeseg.runtime.open_backend``.
        runs: how often it is run; the last output counts.
    """

    path: str
    tensor: str
    options: dict[str, Any] = field(default_factory=dict)
    runs: int = 1


@dataclass(frozen=True, kw_only=True)
class Value:
    """The first output of a model.

    Attributes:
        dtype: numpy's name of it.
        shape: of it.
        scale: of a quantized output, 0 where it is not quantized.
        zero_point: likewise.
        data: the values, compressed with zlib, in base64.
    """

    dtype: Annotated[str, Meta(max_length=10, pattern=r"\A(bool|u?int(8|16|32|64)|float(16|32|64))\Z")]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=2**31)], ...], Meta(max_length=8)]
    scale: Finite = 0.0
    zero_point: Int64 = 0
    data: Annotated[str, Meta(max_length=MAX_ANSWER_BYTES)]

    @classmethod
    def of(cls, array: NDArray[Any], backend: Backend) -> Value:
        """Pack the output of a backend."""
        info = backend.outputs[0]
        return cls(
            dtype=array.dtype.name,
            shape=array.shape,
            scale=float(info.scale),
            zero_point=int(info.zero_point),
            data=base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 1)).decode(),
        )

    def array(self) -> NDArray[Any]:
        """Return the values, as float32 where they are quantized.

        Raises:
            WrongValue: there are more or fewer bytes than the shape needs.
        """
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if size > max_model_memory() << 20:
            raise WrongValue(f"a value of shape {self.shape} is larger than any model may be")
        try:
            packed = zlib.decompressobj()
            data = packed.decompress(base64.b64decode(self.data, validate=True), size + 1)
        except (ValueError, zlib.error) as error:
            raise WrongValue(f"'data' cannot be unpacked: {error}") from error
        if len(data) != size:
            raise WrongValue(f"'data' has not the {size} bytes of shape {self.shape}")
        array = np.frombuffer(data, self.dtype).reshape(self.shape)
        return dequantized(array, self.scale, self.zero_point)


def answers(questions: Questions) -> Answers:
    """Run the artifact on the images of the proof, in the order that is asked for.

    Raises:
        EdgesegError: the artifact does not open, or not on the requested accelerator, or the proof is not its own.
    """
    proof = read_proof(questions.proof)
    opened = open_backend(questions.path, **questions.options)
    try:
        return answer_proof(opened, proof, questions.order)
    finally:
        opened.close()


def value(request: ValueRequest) -> Value:
    """Run a model on a tensor and return its output.

    Raises:
        EdgesegError: the model does not open, or does not take the tensor.
    """
    tensor = np.load(request.tensor, allow_pickle=False)
    opened = open_backend(request.path, **request.options)
    try:
        require_taken(f"'{request.path}'", opened.inputs[0], tensor)
        for _ in range(request.runs):
            output = opened.run(tensor)
        return Value.of(np.array(output), opened)
    finally:
        opened.close()


def read_answers(text: str) -> Answers:
    """Read what ``main`` wrote to ``Questions``; nothing of it is trusted.

    Raises:
        WrongValue: it is no such answer.
        InputError: the worker refused the artifact or the proof.
        BackendUnavailable: the worker lacks the requested runtime or accelerator.
    """
    raise_refusal(text)
    return decode(text, Answers)


def read_value(text: str) -> Value:
    """Read what ``main`` wrote to a ``ValueRequest``; see ``read_answers``."""
    raise_refusal(text)
    return decode(text, Value)


def main() -> int:
    """Answer ``Questions``, or a ``ValueRequest``."""
    os.environ[TRIAL_VARIABLE] = "0"  # this is a process of its own

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        if "tensor" in asked:
            return dataclasses.asdict(value(ValueRequest(**asked)))
        return dataclasses.asdict(answers(Questions(**asked)))

    return answer(work)


if __name__ == "__main__":
    sys.exit(main())
