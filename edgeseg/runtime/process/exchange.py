"""Exchange a request and its answer, both JSON, with a module that runs in a process of its own.

The module reads the request from stdin and writes the answer to stdout: ``python -m MODULE < request.json``. In a
process of its own the first call is really the first, memory is charged to the model alone, and a crash in a driver
does not affect the caller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from edgeseg._internal.json import Meta, WrongValue, decode
from edgeseg._internal.text import escaped
from edgeseg.errors import BackendUnavailable, DeviceLost, EdgesegError, InputError
from edgeseg.runtime.process.child import how_it_ended


@dataclass(frozen=True, kw_only=True)
class _Refusal:
    """What ``answer`` reports instead of an answer."""

    error: Annotated[str, Meta(max_length=10_000)] | None = None
    kind: Literal["unavailable", "input"] | None = None


def answer(work: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Answer the request on stdin; output of native libraries goes to stderr, so that stdout is the answer alone."""
    # A file name may have bytes that are no text, which JSON has not.
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    try:
        reply = work(json.load(sys.stdin))
    except EdgesegError as error:
        kind = "unavailable" if isinstance(error, BackendUnavailable) else "input"
        reply = {"error": " ".join(str(error).split()), "kind": kind}
    json.dump(reply, stdout, ensure_ascii=False)
    stdout.close()
    return 0


def raise_refusal(text: str) -> None:
    """Raise the error that ``answer`` reported instead of an answer.

    Raises:
        WrongValue: it is neither an answer nor such an error.
        InputError: the worker refused the artifact or a setting.
        BackendUnavailable: the worker lacks the requested runtime or accelerator.
    """
    refusal = decode(text, _Refusal)
    if refusal.error is not None:
        if refusal.kind is None:
            raise WrongValue("'kind' is missing")
        raise (BackendUnavailable if refusal.kind == "unavailable" else InputError)(escaped(refusal.error, most=2000))


def ask(module: str, request: dict[str, Any], timeout_s: float, *, doing: str = "measured") -> str:
    """Run a module that calls ``answer``, and return its answer, JSON.

    Args:
        module: run as ``python -m``.
        request: its ``path`` is the artifact.
        timeout_s: the seconds after which it is stopped.
        doing: what the process did with the artifact, for the error text.

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
            f"the process that {doing} '{request['path']}' gave no answer in {timeout_s:.0f} s and was stopped."
        ) from error
    if process.returncode:
        raise DeviceLost(f"the process that {doing} '{request['path']}' ended early, {how_it_ended(process)}.")
    return process.stdout
