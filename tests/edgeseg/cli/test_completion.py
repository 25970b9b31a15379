"""``_completion``: what a shell offers after TAB, by click's own classes; and the script that sets it up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from edgeseg.cli import cli
from edgeseg.models.zoo.table import ZOO


def completed(*words: str) -> list[tuple[str, str]]:
    """What is offered for the last word, with its type."""
    complete = ShellComplete(cli, {}, "edgeseg", "_EDGESEG_COMPLETE")
    return [(item.value, item.type) for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_names_and_files_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.tflite", "mine.onnx", "mine.keras", "mine.h5", "mine.txt", "unet.keras", "runs/best.keras"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert completed("exp") == [("export", "plain")]
    assert completed("export", "unet") == [
        *((name, "plain") for name in ZOO if name.startswith("unet")),
        ("unet.keras", "plain"),
    ]
    assert completed("train", "mine") == [("mine.h5", "plain"), ("mine.keras", "plain")]
    assert completed("models", "segf") == [(name, "plain") for name in ZOO if name.startswith("segf")]
    of_mine = [(f"mine.{suffix}", "plain") for suffix in ("h5", "keras", "onnx", "tflite")]
    for command in ("predict", "camera", "inspect", "evaluate", "benchmark"):
        assert completed(command, "mine") == of_mine
        assert ("efficientnet_lite0_unet.int8", "plain") in completed(command, "eff")
    assert completed("evaluate", "runs/b") == [("runs/best.keras", "plain")]
    assert completed("evaluate", "ru") == [("ru", "file")], "the shell goes on with the folder"
    assert completed("predict", "mine.tflite", "str") == [("str", "file")]
    assert completed("train", "--recipe", "unet-t") == [("unet-tutorial", "plain")]
    assert completed("predict", "--visualize", "mask,cut") == [("mask,cutout", "plain")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_line_gives_a_script(shell: str) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    program = "import sys; from edgeseg.cli import main; sys.exit(main())"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "_EDGESEG_COMPLETE": f"{shell}_source"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert "_EDGESEG_COMPLETE" in run.stdout
