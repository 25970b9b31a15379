"""``_terminal``: standard streams that are closed, full or left: no traceback, and a status that is no gate's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which ``edgeseg`` is this interpreter's command."""
    line = f'edgeseg() {{ "{sys.executable}" -m edgeseg "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


# A table of rich, a text that stays in Python's buffer until the end, and click's own.
@pytest.mark.parametrize("command", ["models", "models --json", "--help"])
def test_a_reader_that_left_ends_the_command_as_sigpipe_would(command: str) -> None:
    done = shell(f"edgeseg {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["models", "models --json"])
def test_a_full_disk_behind_stdout_is_one_line(command: str) -> None:
    done = shell(f"edgeseg {command} > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "edgeseg: standard output cannot be written: No space left on device.\n"


def test_closed_streams_are_as_good_as_none() -> None:
    done = shell("edgeseg models >&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert shell("edgeseg predict none.tflite none.png --count 2>&-").returncode == 2
