"""Measure on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeseg._internal.json import WrongValue
from edgeseg.benchmark.worker import Reply, Request, longest_s
from edgeseg.errors import DeviceLost
from edgeseg.runtime.process.child import how_it_ended


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
            return Reply.from_json(ask("edgeseg.benchmark.worker", asdict(request), longest_s(request)))
        except WrongValue as error:
            raise DeviceLost(
                f"what the process that measured '{request.path}' says cannot be right: {error}."
            ) from error


def ask(module: str, request: dict[str, Any], timeout_s: float) -> str:
    """Run a module that calls ``worker.answer`` in a separate process, and return its answer, JSON.

    Args:
        module: run as ``python -m``.
        request: its ``path`` is the artifact.
        timeout_s: the seconds after which it is stopped.

    Raises:
        DeviceLost: the process died or was stopped.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(request),
            # The worker finds the edgeseg that runs here, installed or not.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceLost(
            f"the process that measured '{request['path']}' gave no answer in {timeout_s:.0f} s and was stopped."
        ) from error
    if process.returncode:
        raise DeviceLost(f"the process that measured '{request['path']}' ended early, {how_it_ended(process)}.")
    return process.stdout
