"""Run a worker of this folder as a child process that has a time limit, and say how it ended."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeseg._internal.text import last_line

# What LiteRT and TensorFlow log: ``INFO: [accelerator_registry.cc:43] ...``, ``I0000 00:00:1796003911.37 ...``.
_LOG = re.compile(r"INFO: |WARNING: |[IW]\d{4} ")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A worker that ended.

    Attributes:
        stdout: what it wrote, as text.
        stderr: likewise; the native libraries write there.
        status: its exit status, minus the number of the signal that killed it, ``None`` where it was stopped for its
            time.
        how: the same in words: ``killed by SIGSEGV``, ``exit status 1``, ``no answer in 30 s``.
    """

    stdout: str
    stderr: str
    status: int | None
    how: str


def run(
    worker: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    stdin: bytes = b"",
) -> Ended:
    """Run a worker to its end, or stop it.

    Args:
        worker: a Python file.
        arguments: of its command line.
        environment: all of its variables.
        timeout_s: the seconds after which it is stopped.
        stdin: what it reads.
    """
    command = [sys.executable, str(worker), *arguments]
    try:
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Ended(stdout="", stderr="", status=None, how=f"no answer in {timeout_s:g} s")
    stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return Ended(stdout=stdout, stderr=stderr, status=done.returncode, how=status_text(done.returncode))


def how_it_ended(done: subprocess.CompletedProcess[str]) -> str:
    """Return ``killed by SIGSEGV: last line of its stderr``; of native logs only where there is nothing else."""
    how = status_text(done.returncode)
    # LiteRT still logs its end after Python's traceback.
    telling = "\n".join(line for line in done.stderr.splitlines() if not _LOG.match(line))
    said = telling if telling.strip() else done.stderr
    return f"{how}: {last_line(said)}" if said.strip() else how


def status_text(status: int) -> str:
    """Return ``killed by SIGSEGV`` or ``exit status 1``, by what ``subprocess`` says of a process."""
    return f"killed by {signal_name(-status)}" if status < 0 else f"exit status {status}"


def signal_name(number: int) -> str:
    """Return the name of a signal; Python has none for most real-time signals, nor for another system's."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
