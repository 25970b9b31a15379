"""``verify`` and ``_places``: ``edgeseg verify`` as a user runs it; ``benchmark`` of a file that answers wrongly."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeseg._internal.files import sha256
from edgeseg.benchmark.result import read
from edgeseg.cli import main
from edgeseg.cli._places import Sweep
from edgeseg.proof import read_proof
from edgeseg.proof.device import ThisMachine

QUICK = ("--rounds", "1", "--num-runs", "5", "--min-secs", "0", "--max-secs", "5")


@pytest.fixture
def wrong(proven: Path) -> Path:
    """The artifact of a proof that Keras answers otherwise: two classes are exchanged in what is expected."""
    path = proven / "unet_mini.proof.zip"
    proof = read_proof(path)
    images = tuple(dataclasses.replace(one, class_map=(one.class_map + 1) % 5) for one in proof.images)
    dataclasses.replace(proof, images=images).save(path, overwrite=True)
    return proven / "unet_mini.fp32.tflite"


def test_right_files_pass(proven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts = [str(proven / f"unet_mini.fp32.{suffix}") for suffix in ("tflite", "onnx")]
    assert main(["verify", *artifacts, "--repeat", "2", "--save", str(tmp_path / "d")]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split()[0] == "Artifact"
    assert [line.split()[-1] for line in lines[1:]] == ["ok", "ok"]
    assert captured.err.count("no image differs") == 2
    assert not (tmp_path / "d").exists()
    assert main(["verify", artifacts[0], "--num-threads", "1,2", "--repeat", "1", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["format_version"] == 1
    assert [verdict["agreement"]["passed"] for verdict in written["verdicts"]] == [True, True]


def test_half_precision_is_said(
    proven: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ThisMachine.answers
    monkeypatch.setattr(
        ThisMachine,
        "answers",
        lambda *arguments: dataclasses.replace(answers(*arguments), half_arithmetic=True),
    )
    assert main(["verify", str(proven / "unet_mini.fp32.tflite"), "--repeat", "1"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert "cpu (half precision)" in line
    assert line.split()[-2:] == ["99.5%", "ok"]  # the gate of fp16


def test_a_wrong_file_fails_and_shows_where(wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(wrong), "--repeat", "1", "--save", str(tmp_path / "d")]) == 1
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "Most often instead" in captured.out
    assert "of the decided pixels have Keras' class in the worst run; at least 99.9%." in captured.err
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        f"unet_mini.fp32.tflite.cpu.local.0{index}.png" for index in range(3)
    ]
    assert main(["verify", str(wrong), "--repeat", "1", "--save", str(tmp_path / "d")]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_latency_counts_only_with_its_answer(
    wrong: Path, proven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "r.json"
    assert main(["benchmark", str(wrong), *QUICK, "--output", str(results)]) == 1
    captured = capsys.readouterr()
    assert "WRONG" in captured.out
    assert "this latency has no use" in captured.err
    (result,) = read(results)
    assert result.agreement is not None
    assert (result.agreement.passed, result.agreement.images) == (False, 3)
    assert main(["compare", str(results)]) == 0
    assert "WRONG" in capsys.readouterr().out
    assert main(["compare", str(results), str(results), "--max-regression", "50"]) == 1
    page = tmp_path / "r.html"
    assert main(["compare", str(results), "--format", "html", "--output", str(page)]) == 0
    assert '<b class="bad">' in page.read_text()
    capsys.readouterr()
    assert main(["benchmark", str(wrong), *QUICK, "--no-verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["agreement"] is None
    # A file that the proof was not made with is measured without its answers, which is said.
    other = proven / "unet_mini.fp16.onnx"
    other.write_bytes((proven / "unet_mini.fp32.onnx").read_bytes() + b"\x0a\x00")
    assert sha256(other.read_bytes()) not in read_proof(proven / "unet_mini.proof.zip").artifacts.values()
    assert main(["benchmark", str(other), *QUICK, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["results"][0]["agreement"] is None
    assert "without its answers" in captured.err


@pytest.mark.parametrize(
    ("change", "args", "said"),
    [
        ("none", (), "no proof beside"),
        ("none", ("--proof", "none.zip"), "cannot be read"),
        ("damaged", (), "no proof of edgeseg"),
        ("foreign", (), "no zip archive"),
        ("oversized", (), "bytes; a proof of at most"),
        ("outdated", (), "--proof"),
        ("kept", ("--accelerator", "tpu"), "unknown 'tpu'"),
        ("kept", ("--device", "bluetooth"), "unknown device 'bluetooth'"),
        ("kept", ("--repeat", "0"), "--repeat"),
        ("kept", ("--provider", "cuda"), "provider"),
    ],
)
def test_what_cannot_be_verified_is_one_line(
    proven: Path, change: str, args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, artifact = proven / "unet_mini.proof.zip", proven / "unet_mini.fp32.tflite"
    if change == "none":
        path.unlink()
    elif change == "damaged":
        path.write_bytes(path.read_bytes().replace(b"IDAT", b"IDAX"))
    elif change == "foreign":
        path.write_bytes(b"%PDF-1.7" * 100)
    elif change == "oversized":
        with open(path, "ab") as file:
            file.truncate(1 << 30)
    elif change == "outdated":
        read_proof(path).with_artifacts({artifact.name: "0" * 64}).save(path, overwrite=True)
    before = sorted(proven.iterdir())
    assert main(["verify", str(artifact), *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert said in error
    assert sorted(proven.iterdir()) == before


def test_what_one_case_says_is_kept_where_another_cannot_run(
    wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--accelerator", "cpu,npu", "--num-threads", "1,1", "--repeat", "1", "--save", str(tmp_path)]
    assert main(["verify", str(wrong), *args]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("FAILED") == 1
    assert "cpu, 1 thread" in captured.out
    assert "does not run on an NPU" in captured.err
    assert (tmp_path / "unet_mini.fp32.tflite.cpu1.local.00.png").is_file()
    assert main(["verify", str(wrong), "--device", "local", "--device", "adb:NONE", "--repeat", "1", "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["verdicts"]) == 1
    twice = tmp_path / "b" / wrong.name
    twice.parent.mkdir()
    twice.write_bytes(wrong.read_bytes())
    assert main(["verify", str(wrong), str(twice), "--save", "d"]) == 2
    assert "two artifacts have one name" in capsys.readouterr().err


def test_a_delegate_and_repeated_names_are_one_case(proven: Path) -> None:
    places = Sweep(
        accelerators=("cpu", "gpu"),
        backend=None,
        delegate="x.so",
        delegate_option=(),
        provider=(),
        num_threads=(2, 2),
        imgsz=None,
        runtime_precision=None,
    )
    assert [case.accelerator for case in places.cases([proven])] == ["x.so"]


def test_ctrl_c_leaves_nothing(proven: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeseg", "verify", str(proven / "unet_mini.fp32.tflite"), "--repeat", "1000"]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [*command, "--save", str(tmp_path / "d")],
        env={**_environment(), "TMPDIR": str(temporary)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    deadline = time.monotonic() + 60
    while not _children(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    (child,) = _children(process.pid)
    process.send_signal(signal.SIGINT)  # a terminal's Ctrl-C goes to both, a kill to one
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
    assert not any(temporary.iterdir())
    assert not (tmp_path / "d").exists()


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
