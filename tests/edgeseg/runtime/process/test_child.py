from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edgeseg.runtime.process import child


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("raise SystemExit(3)", "exit status 3"),
        ("print('done')", "exit status 0"),
        ("import time; time.sleep(60)", "no answer in 0.5 s"),
    ],
)
def test_how_a_worker_ended(code: str, how: str, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(code)
    ended = child.run(tmp_path / "worker.py", (), environment=os.environ, timeout_s=0.5 if "sleep" in code else 60)
    assert ended.how == how
    assert ended.stdout == ("done\n" if "done" in code else "")


def test_a_worker_gets_what_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("import os, sys; print(sys.argv[1], os.environ['GIVEN'], sys.stdin.read())")
    ended = child.run(
        tmp_path / "worker.py", ["one"], environment={**os.environ, "GIVEN": "two"}, timeout_s=60, stdin=b"three"
    )
    assert ended.stdout == "one two three\n"


def test_a_log_after_the_reason_is_not_the_reason() -> None:
    def said(stderr: str) -> str:
        return child.how_it_ended(subprocess.CompletedProcess([], 1, "", stderr))

    log = "INFO: [accelerator_registry.cc:43] DestroyAccelerator\nI0000 00:00:1796003911.37 a.cc:1] b\n"
    assert said(f"Traceback ...\nMemoryError: no room\n{log}") == "exit status 1: MemoryError: no room"
    assert said(log) == "exit status 1: I0000 00:00:1796003911.37 a.cc:1] b"
    assert said(" \n") == "exit status 1"
