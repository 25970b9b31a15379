"""Inspect an artifact: its ModelSpec, its inputs and outputs, its ops, and how many of them each accelerator takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import sha256
from edgeseg._internal.limits.models import ModelFile
from edgeseg.choices import FORMAT_SUFFIXES, Format
from edgeseg.coverage import Coverage, accelerators, coverage_of_all
from edgeseg.coverage.ask import WHOLE
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.models.packaged_files import find_file
from edgeseg.opening import NORMALIZATIONS, InputDescription, NormalizationUnknown, describe
from edgeseg.runtime import SUFFIXES, Backend, TensorInfo, open_backend
from edgeseg.runtime.base import is_open
from edgeseg.runtime.mnn import file as mnn
from edgeseg.runtime.onnx_ops import read_ops
from edgeseg.runtime.openvino import file as openvino
from edgeseg.spec import ModelSpec
from edgeseg.tflite.graph import count_ops
from edgeseg.tflite.half_arithmetic import HalfArithmetic

# Such a file describes its graph for an image of one pixel.
_OPEN_SIZE = "the input size is open, and what it takes depends on the size; convert the model at a fixed one"


# The most frequent normalization, which `edgeseg train` has too: a guess to be checked by the user.
_GUESS = InputDescription(mean=(127.5,) * 3, std=(127.5,) * 3)
_GUESS_OPTIONS = ("--mean", "127.5", "--std", "127.5")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How to run a file on an image.

    Attributes:
        spec: how it is fed with these options: the ModelSpec inside, or what is read from the file; ``None`` where that
            is not known.
        options: the options that ``edgeseg predict`` needs for it.
        note: which of them are guesses, or why it cannot be run; empty where the file says everything.
    """

    __repr__ = short_repr

    spec: ModelSpec | None
    options: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a file says about itself.

    Attributes:
        path: the file.
        size_bytes: its size.
        sha256: of its bytes.
        runtime: the runtime that opened it.
        spec: the ModelSpec inside, ``None`` when there is none.
        inputs: its inputs.
        outputs: its outputs.
        ops: op name to count; ``None`` where the package that knows the format's schema is not installed.
        coverage: what each accelerator takes and leaves.
        not_asked: accelerator to the reason why nothing is known of it.
        usage: how to run it.
        half_arithmetic: of a ``.tflite`` file: whether it asks for half precision, and whether this CPU computes it so;
            ``None`` for others.
    """

    __repr__ = short_repr

    path: Path
    size_bytes: int
    sha256: str
    runtime: str
    spec: ModelSpec | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ops: dict[str, int] | None
    coverage: tuple[Coverage, ...]
    not_asked: dict[str, str]
    usage: Usage
    half_arithmetic: HalfArithmetic | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``edgeseg inspect --json``."""
        usage = {"spec": _spec_json(self.usage.spec), "options": list(self.usage.options), "note": self.usage.note}
        return {
            **dataclasses.asdict(self),
            "path": str(self.path),
            "spec": _spec_json(self.spec),
            "coverage": [one.to_dict() for one in self.coverage],
            "usage": usage,
        }


def inspect(path: str | Path, names: Iterable[str] | None = None) -> Inspection:
    """Open an artifact on its runtime and describe it.

    Args:
        path: a ``.tflite``, ``.onnx``, ``.mnn`` or ``.xml`` file, or the name of a packaged one.
        names: accelerators whose coverage is asked; every known one when omitted.

    Raises:
        InputError: the file is missing, broken or of no known suffix, or an accelerator is not known.
        BackendUnavailable: its runtime is not installed.
    """
    path = find_file(path)
    if SUFFIXES.get(path.suffix.lower()) == "keras":
        raise InputError(f"'{path}' is a Keras model; inspect the artifact that edgeseg export makes of it.")
    file = ModelFile.read(path)
    data = file.data
    with closing(open_backend(file)) as backend:
        file_format = next(name for name, suffix in FORMAT_SUFFIXES.items() if suffix == path.suffix.lower())
        chosen = accelerators(file_format, names)
        ops = _OPS[file_format](data)
        usage = _usage(path, backend, data)
    coverages: tuple[Coverage, ...] = ()
    not_asked = dict.fromkeys(chosen, _OPEN_SIZE)
    if file_format in WHOLE:
        not_asked = {"cpu": WHOLE[file_format]}
    elif not is_open(backend.inputs[0].shape):
        coverages, not_asked = coverage_of_all(data, chosen)
    return Inspection(
        path=path,
        size_bytes=len(data),
        sha256=sha256(data),
        runtime=backend.runtime,
        spec=backend.spec,
        inputs=backend.inputs,
        outputs=backend.outputs,
        ops=ops,
        coverage=coverages,
        not_asked=not_asked,
        usage=usage,
        half_arithmetic=HalfArithmetic.of(data) if file_format == "tflite" else None,
    )


def _usage(path: Path, backend: Backend, data: bytes) -> Usage:
    if backend.spec is not None:
        return Usage(spec=backend.spec)
    if is_open(backend.inputs[0].shape):
        return Usage(
            spec=None,
            options=("--imgsz", "512", *_GUESS_OPTIONS),
            note="its input size is open, and so may be its normalization: give those that it was trained with",
        )
    try:
        return Usage(spec=describe(path, backend, InputDescription(), data=data)[0])
    except NormalizationUnknown:
        note = f"the file does not say its normalization, and this is a guess; others are {NORMALIZATIONS}"
    except InputError as error:
        return Usage(spec=None, note=str(error))
    try:
        return Usage(spec=describe(path, backend, _GUESS, data=data)[0], options=_GUESS_OPTIONS, note=note)
    except InputError as error:
        return Usage(spec=None, note=str(error))


def _spec_json(spec: ModelSpec | None) -> Any:
    return None if spec is None else json.loads(spec.to_json())


def _tflite_ops(data: bytes) -> dict[str, int] | None:
    try:
        return count_ops(data)
    except BackendUnavailable:  # tflite-runtime ships no schema
        return None


def _onnx_ops(data: bytes) -> dict[str, int] | None:
    try:
        return read_ops(data).counts()
    except BackendUnavailable:  # the package that reads them is not part of a device's install
        return None


#: How the ops of a format are counted.
_OPS: Mapping[Format, Callable[[bytes], dict[str, int] | None]] = {
    "tflite": _tflite_ops,
    "onnx": _onnx_ops,
    "mnn": mnn.count_ops,
    "openvino": openvino.count_layers,
}
