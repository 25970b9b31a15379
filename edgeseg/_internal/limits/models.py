"""Bound what a model file may cost: its size, the memory and the time of its first run; read its bytes once.

Some bytes in a file claim a tensor of any size, or a loop without an end.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from edgeseg._internal.limits import pairs
from edgeseg.errors import InputError

#: MiB that a model file, or the opening and running of it, may take, where the variable does not say otherwise.
MAX_MODEL_MEMORY = 2048
#: The environment variable that changes it, for this process and those that it starts.
MEMORY_VARIABLE = "EDGESEG_MAX_MODEL_MEMORY"

#: Seconds that opening a model and running it once may take on a CPU, where the variable does not say otherwise.
TRIAL_S = 30
#: The environment variable that changes it; 0 for no trial.
TRIAL_VARIABLE = "EDGESEG_TRIAL_SECONDS"


@dataclass(frozen=True)
class ModelFile:
    """A model file that was read: what is checked is what is opened, whatever happens to the path in between.

    Attributes:
        path: where it was read, for messages and for files beside it.
        data: all of it; of an OpenVINO model both files, as ``pairs`` joins them.
    """

    path: Path
    data: bytes = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> ModelFile:
        """Read a file, and the one with its weights where the format has two.

        Raises:
            InputError: it is missing, no regular file, larger than a model may be, or cannot be read.
        """
        path = Path(path)
        data, weights = _read(path), pairs.weights_path(path)
        if weights is None:
            return cls(path, data)
        if not weights.exists():
            raise InputError(f"'{path}' has its weights in '{weights}', which does not exist; copy both files.")
        content = _read(weights)
        _require_size(path, len(data) + len(content))
        try:
            return cls(path, pairs.join(data, content))
        except ValueError as error:
            raise InputError(f"'{path}' does not open: {error}.") from error


def named_bytes(model: str | Path | bytes | ModelFile) -> tuple[str, bytes]:
    """Return what a model is called at the start of a sentence, and its bytes.

    Raises:
        InputError: it is a path, and the file cannot be read.
    """
    if isinstance(model, bytes):
        return "the model", model
    file = model if isinstance(model, ModelFile) else ModelFile.read(model)
    return f"'{file.path}'", file.data


def max_model_memory() -> int:
    """Return how many MiB a model may take.

    Raises:
        InputError: the environment variable is no number above 0.
    """
    value = _number(MEMORY_VARIABLE, MAX_MODEL_MEMORY)
    if not value:
        raise InputError(f"{MEMORY_VARIABLE} must be a number of MiB above 0, got '0'.")
    return value


def trial_s() -> int:
    """Return how many seconds the first run of a model may take; 0 where there is none.

    Raises:
        InputError: the environment variable is no number.
    """
    return _number(TRIAL_VARIABLE, TRIAL_S)


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise InputError(f"{variable} must be a whole number from 0 to 99999999, got '{text}'.")
    return int(text)


def _read(path: Path) -> bytes:
    most = max_model_memory() << 20
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"'{path}' is a pipe, a socket or a device, not a model file.")
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise InputError(f"model file '{path}' does not exist.") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    _require_size(path, len(data))
    return data


def _require_size(path: Path, size: int) -> None:
    most = max_model_memory()
    if size > most << 20:
        raise InputError(
            f"'{path}' has more than {most} MiB, too much for a model; {MEMORY_VARIABLE} sets another limit."
        )


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to is opened at once, to be refused."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
