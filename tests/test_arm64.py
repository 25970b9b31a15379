"""``scripts/arm64``: what the packaged files do on ARM CPUs, emulated; in a system that ``scripts/arm64 make`` made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "_arm64.py"
SYSTEM = os.environ.get("EDGESEG_ARM64")


def arm64(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(SYSTEM is None, reason="EDGESEG_ARM64 names no arm64 system: scripts/arm64 make DIR")
def test_the_small_form_holds() -> None:
    done = arm64("check", str(SYSTEM), "--small")
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "FAILED "))]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert all(line.startswith("ok ") for line in lines)
    for shown in (
        "the asking fp16 file differs from the plain one on cortex-a76",
        "the asking fp16 file is bit-equal with the plain on cortex-a53",
        "int8 on cortex-a76 is bit-equal with this machine",
        "int8 on cortex-a53 is bit-equal with this machine",
        "cortex-a53 refuses CompiledModel: edgeseg: this CPU has no atomic instructions",
    ):
        assert any(shown in line for line in lines), shown


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="not root, which a system in a folder needs")
def test_a_system_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = arm64("check", tmp_path / "none", "--small")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"there is no system in {tmp_path / 'none'}: scripts/arm64 make {tmp_path / 'none'}\n"
    assert not (tmp_path / "none").exists()
