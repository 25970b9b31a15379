"""Try a model file in a process of its own before the first time that it is opened here.

A damaged file can end the process of the runtime that opens it, and no error is raised then. So it is opened and run
once where that ends nothing. A model that ran is remembered by its bytes and by how it ran: a live program pays at its
first start alone. Nothing in a file proves that it is harmless, also not that edgeseg made it: whoever writes the file
writes that too.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgeseg._internal.json import Meta, WrongValue, decode
from edgeseg._internal.limits.models import (
    MEMORY_VARIABLE,
    TRIAL_VARIABLE,
    ModelFile,
    max_model_memory,
    trial_s,
)
from edgeseg._internal.text import last_line
from edgeseg._internal.versions import installed_version
from edgeseg.choices import BackendName
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime.artifact import read_onnx, read_tflite
from edgeseg.runtime.mnn.file import read_mnn
from edgeseg.runtime.openvino.file import read_openvino
from edgeseg.runtime.options import RuntimeOptions
from edgeseg.runtime.process import child, record

# As trial_worker.py has it, which imports the runtimes and is not imported.
ANSWER = "edgeseg trial "
_PACKAGES = ("ai-edge-litert", "tflite-runtime", "onnxruntime", "MNN", "openvino")
# What walks the files of a backend; those of the others are TFLite's.
_READERS: Mapping[BackendName, Callable[[ModelFile], object]] = {
    "onnx": read_onnx,
    "mnn": read_mnn,
    "openvino": read_openvino,
}
# A GPU's driver compiles a model for minutes, and reserves more addresses than the machine has memory.
_ACCELERATED_TIMES = 20


@dataclass(frozen=True)
class _Answer:
    """What ``trial_worker`` says: nothing where the model ran."""

    kind: Literal["memory", "unavailable", "input"] | None = None
    error: Annotated[str, Meta(max_length=10_000)] = ""


def require_to_run(file: ModelFile, backend: BackendName, options: RuntimeOptions) -> None:
    """Open a model and run it once in a child process, unless it ran before; a size that is open is not run.

    Args:
        file: the model.
        backend: what runs it.
        options: how.

    Raises:
        InputError: the process crashed, hung or took too much memory; the text names the file and says which. Or the
            backend refuses the file.
        BackendUnavailable: see the backend.
    """
    seconds = trial_s()
    if not seconds:
        return
    _READERS.get(backend, read_tflite)(file)  # refuses at once, without a process
    key = _key(file, backend, options)
    if record.has(key):
        return
    accelerated = options.accelerator not in (None, "cpu") or options.delegate or set(options.providers) - {"cpu"}
    if accelerated:
        seconds *= _ACCELERATED_TIMES
    memory = max_model_memory()
    asked = {
        "path": str(file.path),
        "backend": backend,
        "options": asdict(options),
        "memory_mib": None if accelerated else memory,
        "seconds": seconds,
    }
    ended = child.run(
        Path(__file__).with_name("trial_worker.py"),
        (),
        # The worker finds the edgeseg that runs here, installed or not.
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout_s=seconds,
        stdin=json.dumps(asked).encode() + b"\n" + file.data,
    )
    answers = [line.removeprefix(ANSWER) for line in ended.stdout.splitlines() if line.startswith(ANSWER)]
    what = f"'{file.path}'"
    if not answers:
        if ended.status is None:
            raise InputError(
                f"{what} does not run: no answer in {seconds} s; it hangs, or this machine is slow for it: "
                f"{TRIAL_VARIABLE} sets another time, and 0 for no trial."
            )
        if "bad_alloc" in ended.stderr or "MemoryError" in ended.stderr:
            raise _too_large(what, memory)
        said = "\n".join(line for line in ended.stderr.splitlines() if line.strip() and not line.startswith("INFO:"))
        why = f" ({last_line(said)})" if said else ""
        raise InputError(f"{what} is damaged or hostile: the process that tried it was {ended.how}{why}.")
    try:
        answer = decode(answers[-1], _Answer)
    except WrongValue as error:
        raise InputError(f"{what} is hostile: it wrote an answer of its own, {error}.") from error
    if answer.kind == "memory":
        raise _too_large(what, memory)
    if answer.kind is not None:
        raise (BackendUnavailable if answer.kind == "unavailable" else InputError)(answer.error)
    record.add(key)


def _too_large(what: str, memory_mib: int) -> InputError:
    return InputError(
        f"{what} takes more than {memory_mib} MiB to run, or is damaged; {MEMORY_VARIABLE} sets another limit."
    )


def _key(file: ModelFile, backend: BackendName, options: RuntimeOptions) -> str:
    """Return the SHA-256 of everything on which it depends whether a model runs."""
    runtimes = [installed_version(package) for package in _PACKAGES]
    about = [backend, asdict(options), runtimes, platform.machine(), max_model_memory()]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(hashlib.sha256(file.data).digest())
    return digest.hexdigest()
