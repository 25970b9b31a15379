"""Define ``RuntimeOptions``: what a user asks of a runtime, and which backend that selects for a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, get_args

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.pairs import REJECTED, files_of
from edgeseg.choices import Accelerator, BackendName, RuntimePrecision
from edgeseg.errors import InputError, did_you_mean

#: File suffix to backend name.
SUFFIXES: dict[str, BackendName] = {
    ".tflite": "litert",
    ".onnx": "onnx",
    ".mnn": "mnn",
    ".xml": "openvino",
    ".keras": "keras",
    ".h5": "keras",
}

#: Which files a backend opens.
_OPENS = {
    "litert": (".tflite",),
    "litert-compiled": (".tflite",),
    "tflite-runtime": (".tflite",),
    "onnx": (".onnx",),
    "mnn": (".mnn",),
    "openvino": (".xml",),
    "keras": (".keras", ".h5"),
}
_INTERPRETERS = ("litert", "tflite-runtime")
#: What runs the files of a backend on an accelerator, for those that have such a thing.
_ELSEWHERE = {
    "onnx": "`providers` chooses for an .onnx file",
    **dict.fromkeys(_INTERPRETERS, "litert-compiled runs it there"),
}


class RuntimeSettings(TypedDict, total=False):
    """The fields of ``RuntimeOptions`` by name, as keywords of ``edgeseg.runtime.open_backend``."""

    backend: BackendName | None
    num_threads: int | None
    accelerator: Accelerator | None
    delegate: str | None
    delegate_options: Mapping[str, str] | None
    providers: Sequence[str]
    input_size: Sequence[int] | None
    output: str | None
    runtime_precision: RuntimePrecision | None


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """What a user asks of a runtime; everything is optional, and edgeseg runs what is asked for or raises an error.

    Attributes:
        backend: name of the runtime; chosen by the file's suffix and the accelerator when ``None``.
        num_threads: threads on the CPU; ``default_threads()`` when ``None``, and TensorFlow's choice for a Keras model.
        accelerator: what a ``.tflite`` file runs on; ``gpu`` and ``npu`` need LiteRT's ``CompiledModel``.
        delegate: library of a TFLite delegate (``libedgetpu.so.1``), for the interpreter.
        delegate_options: options from that library's documentation, as text.
        providers: ONNX Runtime's execution providers in the order of preference, by ONNX Runtime's names or the
            short ones (``cuda``).
        input_size: ``(H, W)`` in pixels, for a model that leaves its input size open.
        output: name of the output that is returned, of a model with several; the first when ``None``.
        runtime_precision: what OpenVINO computes floats in; ``fp32`` when ``None``.
    """

    __repr__ = short_repr

    backend: BackendName | None = None
    num_threads: int | None = None
    accelerator: Accelerator | None = None
    delegate: str | None = None
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    providers: Sequence[str] = ()
    input_size: tuple[int, int] | None = None
    output: str | None = None
    runtime_precision: RuntimePrecision | None = None

    def choose(self, path: Path) -> BackendName:
        """Return the backend that opens a file.

        Args:
            path: a model file; only its suffix is used.

        Raises:
            InputError: a name is unknown, or options do not go together; the text says which.
        """
        suffix = path.suffix.lower()
        _known("backend", self.backend, get_args(BackendName))
        _known("accelerator", self.accelerator, get_args(Accelerator))
        if suffix == REJECTED:
            names = " and ".join(f"'{file.name}' to '{file.stem}'" for file in files_of(path))
            raise InputError(
                f"'{path}' failed its verification, so no command opens it under this name; to look at what it does, "
                f"rename {names}."
            )
        if self.backend is None and suffix not in SUFFIXES:
            raise InputError(f"'{path}' has none of the known suffixes: {', '.join(SUFFIXES)}.")
        elsewhere = self.accelerator not in (None, "cpu")
        name: BackendName
        if self.backend is not None:
            name = self.backend
        else:
            name = "litert-compiled" if elsewhere and SUFFIXES[suffix] == "litert" else SUFFIXES[suffix]
        if suffix in SUFFIXES and suffix not in _OPENS[name]:
            raise InputError(f"backend '{name}' opens {' and '.join(_OPENS[name])} files, not '{path}'.")
        if elsewhere and name != "litert-compiled":
            instead = _ELSEWHERE.get(name, "it runs on the CPU alone; omit `accelerator`")
            raise InputError(f"backend '{name}' does not run on the accelerator '{self.accelerator}'; {instead}.")
        if self.delegate is not None and (name not in _INTERPRETERS or elsewhere):
            raise InputError(f"a delegate goes with the backends {' and '.join(_INTERPRETERS)}, not with '{name}'.")
        if self.delegate_options and self.delegate is None:
            raise InputError("delegate options go with a delegate: give `delegate='FILE'`.")
        if self.providers and self.accelerator is not None:
            raise InputError("an .onnx file runs where its providers do: give `providers` or `accelerator`, not both.")
        if self.providers and name != "onnx":
            raise InputError(f"execution providers are for .onnx files; backend '{name}' has none.")
        _known("runtime precision", self.runtime_precision, get_args(RuntimePrecision))
        if self.runtime_precision is not None and name != "openvino":
            raise InputError(f"`runtime_precision` is for OpenVINO models; backend '{name}' computes as its file says.")
        return name


def accelerator_name(options: Mapping[str, Any]) -> str:
    """Return the accelerator as people know it: the providers, the delegate's library, or its own name.

    Args:
        options: keywords of ``edgeseg.runtime.open_backend``.
    """
    if options.get("providers"):
        return "+".join(options["providers"])
    if options.get("delegate"):
        return Path(options["delegate"]).name
    return str(options.get("accelerator") or "cpu")


def _known(what: str, name: str | None, accepted: tuple[str, ...]) -> None:
    if name is not None and name not in accepted:
        raise InputError(f"unknown {what} '{name}'.{did_you_mean(name, accepted)} Accepted: {', '.join(accepted)}.")
