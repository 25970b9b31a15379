"""Profile an artifact in a process of its own, by what its runtime records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseg._internal.json import WrongValue, decode
from edgeseg.benchmark.profile.result import Profile, Reply
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.runtime import SUFFIXES
from edgeseg.runtime.process.exchange import ask, raise_refusal

# Seconds that opening a model, and one call, may take: far above any that are useful.
_OPENING_S, _CALL_S = 600.0, 60.0

# The module that profiles, by the backend of the file; which options it obeys, and how it is called in an error.
_MODULES = {
    "onnx": (
        "edgeseg.benchmark.profile.onnx",
        ("num_threads", "providers", "input_size"),
        "a profile is of ONNX Runtime with its threads and providers",
    ),
    "litert": (
        "edgeseg.benchmark.profile.tflite",
        ("num_threads",),
        "a profile is of LiteRT's CompiledModel on the CPU with its threads",
    ),
}

# What says the same as no option.
_ALIKE = {"accelerator": "cpu", "backend": {"onnx": "onnx", "litert": "litert-compiled"}}


def profile(path: Path, options: Mapping[str, Any], num_runs: int) -> Profile:
    """Profile an artifact on this machine, in a process of its own.

    Args:
        path: the artifact, ``.onnx`` or ``.tflite``.
        options: ``num_threads``, ``providers`` and ``input_size``, as for ``edgeseg.runtime.open_backend``; a
            ``.tflite`` takes only the first.
        num_runs: calls after the warm-up.

    Raises:
        BackendUnavailable: the runtime of this file gives no profile here; the text says what does.
        InputError: the file is missing or does not open.
        DeviceLost: the process died, or its answer cannot be right.
    """
    if not path.is_file():
        raise InputError(f"model file '{path}' does not exist.")
    backend = SUFFIXES.get(path.suffix.lower(), "")
    if backend not in _MODULES:
        raise BackendUnavailable(
            f"'{path.name}': a profile by op is of an .onnx or a .tflite; export the model to one of them."
        )
    module, obeyed, what = _MODULES[backend]
    other = sorted(
        name for name, value in options.items() if value and name not in obeyed and not _same(name, value, backend)
    )
    if other:
        raise InputError(f"{what}; {', '.join(other)} is not.")
    known = {name: options[name] for name in obeyed if options.get(name)}
    request = {"path": str(path), "num_runs": num_runs, **known}
    reply = ask(module, request, _OPENING_S + num_runs * _CALL_S, doing="profiled")
    try:
        raise_refusal(reply)
        profiled = decode(reply, Reply)
    except WrongValue as error:
        raise DeviceLost(f"what the process that profiled '{path}' says cannot be right: {error}.") from error
    return Profile(
        artifact=path.name,
        runtime=profiled.runtime,
        num_threads=known.get("num_threads", 0),
        num_runs=num_runs,
        run_ms=profiled.run_ms,
        nodes=profiled.nodes,
    )


def _same(name: str, value: Any, backend: str) -> bool:
    """Return whether an option asks for what is done without it."""
    alike = _ALIKE.get(name)
    return bool(value == (alike[backend] if isinstance(alike, dict) else alike))
