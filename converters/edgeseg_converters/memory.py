"""Peak memory of an artifact: a fresh process opens it and runs it once.

The system's own high-water mark of that process's memory is read. ``getrusage`` will not do: the ``ru_maxrss`` of a
child begins at the memory of its parent, which here has TensorFlow in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from edgeseg.errors import InputError
from edgeseg.spec import Format

_STATUS = Path("/proc/self/status")

# Imports the runtime before it looks for the first time, so that the runtime's own code is not charged to the model.
_CHILD = """
import json, sys
import numpy as np
from edgeseg.runtime import open_backend
import {runtime}

def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))

before = kib("VmRSS:")
backend = open_backend(sys.argv[1], num_threads=int(sys.argv[2]))
backend.run(np.zeros(backend.inputs[0].shape, backend.inputs[0].dtype))
print(json.dumps((kib("VmHWM:") - before) * 1024))
"""

_RUNTIMES: dict[Format, str] = {"tflite": "ai_edge_litert.interpreter", "onnx": "onnxruntime"}


def peak_memory(data: bytes, file_format: Format, *, num_threads: int = 1) -> int | None:
    """Measure what opening an artifact and running it once adds to a process.

    Args:
        data: the file's bytes.
        file_format: which runtime.
        num_threads: of the runtime.

    Returns:
        Bytes at the peak, the file's own bytes among them, over what the process had with Python, numpy and the
        runtime loaded; ``None`` where the system has no ``/proc`` to tell.

    Raises:
        InputError: the artifact does not open or run.
    """
    if not _STATUS.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{file_format}"
        path.write_bytes(data)
        child = subprocess.run(
            [sys.executable, "-c", _CHILD.format(runtime=_RUNTIMES[file_format]), str(path), str(num_threads)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the artifact does not run in a process of its own: {reason}")
    return int(json.loads(child.stdout.splitlines()[-1]))
