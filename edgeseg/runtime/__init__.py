"""Run model files, one runtime per module; ``open_backend`` opens a file on what the caller asks for or raises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg._internal.limits.models import ModelFile, named_bytes
from edgeseg.choices import FORMAT_SUFFIXES, BackendName, Format
from edgeseg.errors import InputError
from edgeseg.models.packaged_files import find_file
from edgeseg.runtime.base import Backend, TensorInfo, default_threads
from edgeseg.runtime.options import SUFFIXES, RuntimeOptions
from edgeseg.runtime.process.trial import require_to_run

if TYPE_CHECKING:
    from typing import Unpack  # of Python 3.11

    from edgeseg.runtime.litert import InterpreterName
    from edgeseg.runtime.options import RuntimeSettings

__all__ = [
    # what to call
    "open_artifact",
    "open_backend",
    "open_with",
    # what goes in and comes out
    "Backend",
    "RuntimeOptions",
    "TensorInfo",
    # tables and defaults
    "BACKENDS",
    "SUFFIXES",
    "default_threads",
]

Opener = Callable[["Path | bytes | ModelFile", RuntimeOptions], Backend]


def _interpreter(package: InterpreterName) -> Opener:
    def opener(model: Path | bytes | ModelFile, options: RuntimeOptions) -> Backend:
        from edgeseg.runtime.litert import LiteRTBackend

        return LiteRTBackend(
            model,
            num_threads=options.num_threads,
            delegate=options.delegate,
            delegate_options=options.delegate_options,
            package=package,
            input_size=options.input_size,
            output=options.output,
        )

    return opener


def _litert_compiled(model: Path | bytes | ModelFile, options: RuntimeOptions) -> Backend:
    from edgeseg.runtime.litert_compiled import CompiledBackend

    return CompiledBackend(
        model,
        accelerator=options.accelerator or "cpu",
        num_threads=options.num_threads,
        input_size=options.input_size,
        output=options.output,
    )


def _onnx(model: Path | bytes | ModelFile, options: RuntimeOptions) -> Backend:
    from edgeseg.runtime.onnx import OnnxBackend

    return OnnxBackend(
        model,
        num_threads=options.num_threads,
        providers=options.providers,
        input_size=options.input_size,
        output=options.output,
    )


def _mnn(model: Path | bytes | ModelFile, options: RuntimeOptions) -> Backend:
    from edgeseg.runtime.mnn.backend import MnnBackend

    _refuse_size(model, options)
    return MnnBackend(model, num_threads=options.num_threads, output=options.output)


def _refuse_size(model: Path | bytes | ModelFile, options: RuntimeOptions) -> None:
    """Raise ``InputError`` where a model of a format whose sizes are all fixed is asked for a size."""
    if options.input_size is not None:
        raise InputError(f"{named_bytes(model)[0]} takes images of its own size and no other; omit `input_size`.")


def _openvino(model: Path | bytes | ModelFile, options: RuntimeOptions) -> Backend:
    from edgeseg.runtime.openvino.backend import OpenVinoBackend

    return OpenVinoBackend(
        model,
        num_threads=options.num_threads,
        precision=options.runtime_precision,
        input_size=options.input_size,
        output=options.output,
    )


def _keras(model: Path | bytes | ModelFile, options: RuntimeOptions) -> Backend:
    from edgeseg.runtime.keras import KerasBackend

    assert isinstance(model, Path)  # no artifact is a Keras model in memory
    return KerasBackend.from_file(
        model, num_threads=options.num_threads, input_size=options.input_size, output=options.output
    )


#: Backend name to the function that opens it.
BACKENDS: dict[BackendName, Opener] = {
    "litert": _interpreter("litert"),
    "litert-compiled": _litert_compiled,
    "tflite-runtime": _interpreter("tflite-runtime"),
    "onnx": _onnx,
    "mnn": _mnn,
    "openvino": _openvino,
    "keras": _keras,
}


def open_backend(path: str | Path | ModelFile, **settings: Unpack[RuntimeSettings]) -> Backend:
    """Open a model file on its runtime.

    An artifact that has not run for this user before is first run once in a child process, as a damaged one can end the
    process that opens it.

    Args:
        path: a ``.tflite``, ``.onnx``, ``.mnn``, ``.xml`` (OpenVINO, with its ``.bin`` beside it), ``.keras`` or
            ``.h5`` file, the name of a packaged one, or an artifact that was read.
        settings: what runs it, and how: see ``RuntimeOptions``. The backend is chosen by the file's suffix and the
            accelerator when omitted. ``input_size`` is ``(H, W)`` in pixels, for a model that leaves its input size
            open; without it such a model opens, to be looked at. ``num_threads`` are those of the runtime;
            ``default_threads()`` when omitted, or TensorFlow's choice for Keras, where all backends of a process share
            them.

    Raises:
        InputError: the file is missing, broken, or of no known suffix; a name is unknown, or has no packaged file; the
            arguments do not go together; the model does not take images of that size.
        BackendUnavailable: the runtime is not installed, or the accelerator, delegate or provider is not there or takes
            no part of the model.
    """
    asked: dict[str, Any] = {**settings}
    size = asked.get("input_size")
    asked["input_size"] = None if size is None else (size[0], size[1])
    asked["providers"] = tuple(asked.get("providers") or ())
    asked["delegate_options"] = asked.get("delegate_options") or {}
    return open_with(path, RuntimeOptions(**asked))


def open_with(path: str | Path | ModelFile, options: RuntimeOptions) -> Backend:
    """Do what ``open_backend`` does, with all options of the runtime in one value."""
    where = path.path if isinstance(path, ModelFile) else find_file(path, options.backend)
    name = options.choose(where)
    if not where.is_file():
        raise InputError(f"model file '{where}' does not exist.")
    if name == "keras":
        return BACKENDS[name](where, options)
    file = path if isinstance(path, ModelFile) else ModelFile.read(where)
    require_to_run(file, name, options)
    return BACKENDS[name](file, options)


def open_artifact(
    data: bytes, file_format: Format, *, num_threads: int | None = None, output: str | None = None
) -> Backend:
    """Open an exported file that is in memory.

    Args:
        data: a whole artifact; of an OpenVINO model the bytes of both files.
        file_format: its format.
        num_threads: threads of the runtime; ``default_threads()`` when omitted.
        output: see ``RuntimeOptions``.

    Raises:
        InputError: the file is broken.
        BackendUnavailable: the runtime is not installed.
    """
    name = SUFFIXES[FORMAT_SUFFIXES[file_format]]
    return BACKENDS[name](data, RuntimeOptions(num_threads=num_threads, output=output))
