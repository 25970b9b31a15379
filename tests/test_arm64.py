"""``scripts/arm64``: what the packaged files do on ARM CPUs, emulated; in a system that ``scripts/arm64 make`` made."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "_arm64.py"
SYSTEM = os.environ.get("EDGESEG_ARM64")


def arm64(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("_arm64", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_arm64", module)  # for its dataclasses
    spec.loader.exec_module(module)
    return module


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


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="not root, which a system in a folder needs")
def test_a_system_of_another_edgeseg_is_not_checked(tmp_path: Path) -> None:
    made = tmp_path / "system" / "work" / "made"
    made.parent.mkdir(parents=True)
    made.write_text("0" * 64)
    done = arm64("check", tmp_path, "--small")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"the system in {tmp_path} is of another edgeseg: run scripts/arm64 make {tmp_path} again\n"


def test_an_edit_of_what_answers_is_another_edgeseg(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in script.SOURCES:
        path = tmp_path / source if "." in source else tmp_path / source / "a.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
        assert (script.ROOT / source).exists()
    monkeypatch.setattr(script, "ROOT", tmp_path)
    found = [script.tree_digest()]
    for name in ("edgeseg/a.py", "converters/edgeseg_converters/a.py", "scripts/_arm64_answers.py"):
        (tmp_path / name).write_text("2")
        found.append(script.tree_digest())
    assert len(set(found)) == len(found)
    (tmp_path / "edgeseg" / "__pycache__").mkdir()
    (tmp_path / "edgeseg" / "__pycache__" / "a.pyc").write_text("3")
    assert script.tree_digest() == found[-1]


def test_other_images_have_answers_of_their_own(script: Any, tmp_path: Path) -> None:
    machine, image = script.Machine(tmp_path), np.zeros((2, 3, 3), np.uint8)
    folders = [script.answers_folder(machine, script.FULL, images) for images in ([image], [image + 1], [image, image])]
    assert len(set(folders)) == 3
    assert folders[0] == script.answers_folder(machine, script.FULL, [image.copy()])


def test_a_folder_of_someone_else_is_kept(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "partial" / "kept"
    kept.parent.mkdir()
    kept.write_text("1")

    def stopped(target: Path, *options: str) -> None:
        script.shutil.rmtree(target, ignore_errors=True)
        raise SystemExit(f"{target}")

    monkeypatch.setattr(script, "bootstrap", stopped)
    monkeypatch.setattr(script.shutil, "which", lambda name: name)
    with pytest.raises(SystemExit, match=r"\.edgeseg-arm64\.partial"):
        script.Machine(tmp_path).make()
    assert kept.exists()
