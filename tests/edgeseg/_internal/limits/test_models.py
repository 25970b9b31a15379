from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeseg._internal.limits import models
from edgeseg._internal.limits.models import ModelFile, max_model_memory, named_bytes, trial_s
from edgeseg.errors import InputError


def test_a_model_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"content")
    assert named_bytes(b"content") == ("the model", b"content")
    assert named_bytes(path) == named_bytes(ModelFile.read(path)) == (f"'{path}'", b"content")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(InputError, match=r"pipe.tflite' is a pipe, a socket or a device, not a model file\."):
        ModelFile.read(tmp_path / "pipe.tflite")
    with pytest.raises(InputError, match=r"does not exist\."):
        ModelFile.read(tmp_path / "none.tflite")
    with pytest.raises(InputError, match=r"(cannot be read|is a pipe)"):
        ModelFile.read(tmp_path)


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate(1 << 40)  # sparse
    monkeypatch.setenv(models.MEMORY_VARIABLE, "1")
    with pytest.raises(InputError, match=r"more than 1 MiB, too much for a model; EDGESEG_MAX_MODEL_MEMORY"):
        ModelFile.read(tmp_path / "m.onnx")


def test_two_files_together_are_no_larger_than_one_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.xml"
    path.write_bytes(b"<net>" + b" " * (600 << 10) + b"</net>\n")
    path.with_suffix(".bin").write_bytes(bytes(600 << 10))
    assert len(ModelFile.read(path).data) == 12 + (1200 << 10)
    monkeypatch.setenv(models.MEMORY_VARIABLE, "1")
    with pytest.raises(InputError, match=r"^'[^']*m\.xml' has more than 1 MiB, too much for a model; [^.]*\.$"):
        ModelFile.read(path)


def test_weights_that_cannot_be_read_are_named_once(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    path.write_bytes(b"<net></net>\n")
    os.mkfifo(path.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"^'[^']*m\.bin' is a pipe, a socket or a device, not a model file\.$"):
        ModelFile.read(path)


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "9" * 20, "\u0661"])
def test_a_variable_that_is_no_number_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, limit in ((models.MEMORY_VARIABLE, max_model_memory), (models.TRIAL_VARIABLE, trial_s)):
        monkeypatch.setenv(variable, value)
        with pytest.raises(InputError, match=variable):
            limit()


def test_variables_set_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(models.MEMORY_VARIABLE, "")
    assert max_model_memory() == models.MAX_MODEL_MEMORY
    monkeypatch.setenv(models.MEMORY_VARIABLE, "0")
    with pytest.raises(InputError, match="above 0"):
        max_model_memory()
    monkeypatch.setenv(models.TRIAL_VARIABLE, "0")
    assert trial_s() == 0
