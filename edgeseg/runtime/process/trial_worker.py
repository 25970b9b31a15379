"""Open a model as its user asks, and run it once on noise, as a process whose end is not the user's.

Reads a line of JSON and then the file's bytes from stdin. Writes one line on stdout: a JSON object after ``ANSWER``,
which is empty when the model ran. What native libraries print on stdout goes to stderr. It opens the model with
edgeseg's own backends, as the caller will, and imports nothing else of edgeseg.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

#: Begins the line with the answer.
ANSWER = "edgeseg trial "


def main() -> int:
    """Try one model."""
    import numpy as np

    from edgeseg._internal.limits.models import ModelFile
    from edgeseg.errors import BackendUnavailable, EdgesegError
    from edgeseg.runtime import BACKENDS, RuntimeOptions
    from edgeseg.runtime.base import is_open

    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    _bound(asked["memory_mib"], asked["seconds"])
    answer: dict[str, str] = {}
    try:
        file = ModelFile(Path(asked["path"]), sys.stdin.buffer.read())
        backend = BACKENDS[asked["backend"]](file, RuntimeOptions(**asked["options"]))
        image = backend.inputs[0]
        if not is_open(image.shape):
            noise = np.random.default_rng(0).integers(0, 256, [abs(side) for side in image.shape])
            backend.run(noise.astype(image.dtype))
    except EdgesegError as error:
        kind = "unavailable" if isinstance(error, BackendUnavailable) else "input"
        answer = {"error": str(error), "kind": "memory" if _lacks_memory(error.__cause__) else kind}
    except MemoryError:
        answer = {"error": "memory", "kind": "memory"}
    stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
    stdout.flush()
    os._exit(0)  # a runtime that crashes while it is torn down has run


def _lacks_memory(cause: BaseException | None) -> bool:
    """Return whether a runtime's error is about memory: LiteRT says nothing then."""
    text = str(cause).strip()
    return cause is not None and (not text or "bad_alloc" in text or "allocate memory" in text)


def _bound(memory_mib: int | None, seconds: int) -> None:
    """Limit what this process may still take: the memory, the time where the caller is no more, and no core file."""
    if sys.platform == "win32":
        return
    import resource

    signal.alarm(seconds + 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Path("/proc/self/status")
    if memory_mib is not None and status.exists():
        now = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmSize:"))
        most = (now << 10) + (memory_mib << 20)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
