"""A stand-in for ``rpicam-vid`` on the PATH."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: How long a process may take to go; waited for and not slept.
GONE_S = 10.0


class Rpicam:
    """The program; what it does is set before it is started."""

    def __init__(self, pids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pids = pids
        self._monkeypatch = monkeypatch
        self.does()

    def does(self, **behavior: Any) -> None:
        """Set what it does, as its own first lines say."""
        self._monkeypatch.setenv("STAND_IN", json.dumps({"pid": str(self._pids), **behavior}))

    def pids(self) -> list[int]:
        """Return the processes that were started so far."""
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []


@pytest.fixture
def rpicam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rpicam:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "rpicam-vid"
    program.write_text(f"#!{sys.executable}\n{Path(__file__).with_name('rpicam_vid.py').read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return Rpicam(tmp_path / "pids", monkeypatch)


@pytest.fixture
def gone() -> Callable[[list[int]], bool]:
    """Returns whether processes end."""

    def ended(pids: list[int]) -> bool:
        deadline = time.monotonic() + GONE_S
        while any(_runs(pid) for pid in pids):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    return ended


def _runs(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
