"""Measure on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeseg._internal.json import WrongValue
from edgeseg._internal.text import last_line
from edgeseg.benchmark.worker import Reply, Request
from edgeseg.errors import DeviceLost


class LocalDevice:
    """Measures in processes of this Python."""

    name = "local"

    def __enter__(self) -> LocalDevice:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Do nothing: no file was copied."""

    def put(self, path: Path, digest: str) -> str:
        """Return the path: the file stays in place."""
        return str(path)

    def run(self, request: Request) -> Reply:
        """See ``Device.run``."""
        try:
            return Reply.from_json(ask("edgeseg.benchmark.worker", asdict(request)))
        except WrongValue as error:
            raise DeviceLost(
                f"what the process that measured '{request.path}' says cannot be right: {error}."
            ) from error


def ask(module: str, request: dict[str, Any]) -> str:
    """Run a module that calls ``worker.answer`` in a separate process, and return its answer, JSON.

    Args:
        module: run as ``python -m``.
        request: its ``path`` is the artifact.

    Raises:
        DeviceLost: the process died.
    """
    process = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(request),
        # The worker finds the edgeseg that runs here, installed or not.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if process.returncode:
        raise DeviceLost(f"the process that measured '{request['path']}' ended early, {how_it_ended(process)}.")
    return process.stdout


def how_it_ended(done: subprocess.CompletedProcess[str]) -> str:
    """Return ``killed by SIGSEGV: last line of its stderr``."""
    how = f"killed by {signal_name(-done.returncode)}" if done.returncode < 0 else f"exit status {done.returncode}"
    return f"{how}: {last_line(done.stderr)}" if done.stderr.strip() else how


def signal_name(number: int) -> str:
    """Return the name of a signal; Python has none for most real-time signals, nor for another system's."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
