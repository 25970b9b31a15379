from __future__ import annotations

import os
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
