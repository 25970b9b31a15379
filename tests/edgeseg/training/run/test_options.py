from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.training.run.options import RunOptions


def test_a_folder_that_a_run_cannot_begin_or_go_on_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing to resume"):
        RunOptions(resume=True).check(tmp_path)
    RunOptions().check(tmp_path)
    (tmp_path / "last.keras").write_bytes(b"an earlier run")
    with pytest.raises(InputError, match="exists; give `overwrite=True`"):
        RunOptions().check(tmp_path)
    RunOptions(overwrite=True).check(tmp_path)
    RunOptions(resume=True).check(tmp_path)


def test_tensorboard_that_is_not_installed_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="`tensorboard` needs"):
        RunOptions(tensorboard=True).check(tmp_path)
