"""``_terminal``, ``training.run.step_report``: what long commands say as they work, on a terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeseg.cli import _terminal
from edgeseg.cli._terminal import progress_of_steps
from edgeseg.imaging import encode_image

_MAIN = "import sys; from edgeseg.cli import main; sys.exit(main())"
_PATIENCE_S = 240


class Terminal:
    """A command whose stdout and stderr are a terminal of 100 columns."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read until something is printed."""
        end = time.monotonic() + _PATIENCE_S
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < end, self.text[-2000:]
            if not self._read():
                raise AssertionError(f"it ended with {self.process.wait()}: {self.text[-2000:]}")
        return found

    def read_all(self) -> int:
        """Read until the command ends; return its exit status."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(_PATIENCE_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], _PATIENCE_S)
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # the other end is closed
            data = b""
        self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        return bool(data)


def test_train_says_what_it_does_from_its_start_and_ends_on_ctrl_c(shapes_dataset: Path, tmp_path: Path) -> None:
    terminal = Terminal(
        "train", "unet_mini", "--data", str(shapes_dataset), "--imgsz", "32,48", "--batch-size", "2",
        "--epochs", "200", "--output-dir", "run", cwd=tmp_path,
    )  # fmt: skip
    try:
        terminal.read_until(
            r"unet_mini: \d+ training images and \d+ validation images, \d+ steps of 2 an epoch at 32x48, 0\.47 M\s+"
            r"parameters, about \d\.\d GB of memory"
        )
        # a bar inside the epoch, refreshed
        first = terminal.read_until(r"epoch 1/200  loss \d")
        assert terminal.text.index("training images") < first.start()
        terminal.read_until(r"epoch 2/200  loss [\d.]+  \d+ ms a step")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.read_all() == 130
    finally:
        terminal.process.kill()
    assert "edgeseg train --resume run" in terminal.text
    assert (tmp_path / "run" / "last.keras").exists()
    assert "Traceback" not in terminal.text


@pytest.mark.slow
def test_export_names_its_steps_from_the_first_on(tmp_path: Path) -> None:
    terminal = Terminal("export", "unet_mini", "--imgsz", "32,48", "--output-dir", ".", cwd=tmp_path)
    try:
        status = terminal.read_all()
    finally:
        terminal.process.kill()
    assert status == 0, terminal.text
    names = ["loading TensorFlow", "opening the model", "rewriting", "converting", "verifying"]
    places = [terminal.text.find(name) for name in names if name in terminal.text]
    # a bar is drawn ten times a second, and a step may be shorter
    assert "loading TensorFlow" in terminal.text
    assert places == sorted(places)
    assert len(places) >= 3, terminal.text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("inspect", "m.tflite"), r"opening m\.tflite"),
        (("predict", "m.tflite", "a.png"), r"(?s)opening m\.tflite.*saved: 1 image in runs/predict"),
        (("camera", "m.tflite", "--source", "a.png", "--no-show", "--save", "b.png"), r"opening m\.tflite"),
    ],
)
def test_a_terminal_is_told_that_a_model_is_opened(command: tuple[str, ...], said: str, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "data" / "saved.fp32.tflite", tmp_path / "m.tflite")
    (tmp_path / "a.png").write_bytes(encode_image(np.zeros((32, 48, 3), np.uint8)))
    terminal = Terminal(*command, cwd=tmp_path)
    try:
        status = terminal.read_all()
    finally:
        terminal.process.kill()
    assert status == 0, terminal.text
    assert re.search(said, terminal.text), terminal.text


def test_a_pipe_gets_few_lines_and_short_work_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(_terminal.time, "monotonic", lambda: now)
    with progress_of_steps("reading") as update:
        for second in range(200):
            now = float(second)
            update("counting", second, 200)
        update("writing", 0, 0)
    assert capsys.readouterr().err.splitlines() == [
        "counting: 10 of 200", "counting: 70 of 200", "counting: 130 of 200", "counting: 190 of 200",
    ]  # fmt: skip
