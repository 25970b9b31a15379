"""Runtimes, one a file. ``open_backend`` picks by the file's suffix; a name given is obeyed or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeseg.errors import InputError
from edgeseg.runtime.base import Backend, TensorInfo, default_threads
from edgeseg.spec import Format

__all__ = ["BACKENDS", "SUFFIXES", "Backend", "TensorInfo", "default_threads", "open_artifact", "open_backend"]


def _litert(path: Path | bytes, num_threads: int | None) -> Backend:
    from edgeseg.runtime.litert import LiteRTBackend

    return LiteRTBackend(path, num_threads=num_threads)


def _onnx(path: Path | bytes, num_threads: int | None) -> Backend:
    from edgeseg.runtime.onnx import OnnxBackend

    return OnnxBackend(path, num_threads=num_threads)


def _keras(path: Path, num_threads: int | None) -> Backend:
    # Keras sets its threads for the whole process; num_threads is for the runtimes that set them for a model.
    from edgeseg.runtime.keras import KerasBackend

    return KerasBackend.from_file(path)


#: Backend name to what opens it.
BACKENDS: dict[str, Callable[[Path, int | None], Backend]] = {"litert": _litert, "onnx": _onnx, "keras": _keras}

#: File suffix to backend name.
SUFFIXES = {".tflite": "litert", ".onnx": "onnx", ".keras": "keras", ".h5": "keras"}


def open_backend(path: str | Path, *, backend: str | None = None, num_threads: int | None = None) -> Backend:
    """Open a model file on its runtime.

    Args:
        path: a ``.tflite``, ``.onnx``, ``.keras`` or ``.h5`` file.
        backend: a name of ``BACKENDS``; by the file's suffix when left out.
        num_threads: threads of the runtime; ``default_threads()`` when left out.

    Raises:
        InputError: the file is missing, broken, or of no known suffix; an unknown backend name.
        BackendUnavailable: the runtime is not installed.
    """
    path = Path(path)
    name = backend or SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise InputError(f"'{path}' has none of the known suffixes: {', '.join(SUFFIXES)}.")
    if name not in BACKENDS:
        raise InputError(f"unknown backend '{name}'; accepted: {', '.join(BACKENDS)}.")
    if not path.is_file():
        raise InputError(f"model file '{path}' does not exist.")
    return BACKENDS[name](path, num_threads)


def open_artifact(data: bytes, file_format: Format, *, num_threads: int | None = None) -> Backend:
    """Open an exported file that is in memory.

    Args:
        data: a whole ``.tflite`` or ``.onnx`` file.
        file_format: which of the two.
        num_threads: threads of the runtime; ``default_threads()`` when left out.

    Raises:
        InputError: the file is broken.
        BackendUnavailable: the runtime is not installed.
    """
    return (_litert if file_format == "tflite" else _onnx)(data, num_threads)
