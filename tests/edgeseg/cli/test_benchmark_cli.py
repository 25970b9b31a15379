"""``benchmark`` and ``compare``: ``edgeseg benchmark`` and ``compare`` as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseg.benchmark.result import read
from edgeseg.cli import main
from edgeseg.coverage.gpu import SWIFTSHADER

QUICK = ("--rounds", "1", "--num-runs", "5", "--min-secs", "0", "--max-secs", "5")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tflite_model: Callable[..., bytes]) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "m.tflite"
    path.write_bytes(tflite_model(["ABS", "NEG"], [((1, 64, 64, 3), "float32")]))
    return path


def test_a_sweep_of_threads_as_file_table_and_comparison(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.json"
    args = ["benchmark", str(model), "--num-threads", "1,2", *QUICK, "--output", str(out)]
    assert main(args) == 0
    printed = capsys.readouterr().out
    assert "Median ms" in printed and printed.count("m.tflite") == 2
    results = read(out)
    assert [(r.num_threads, len(r.latencies_s)) for r in results] == [(1, 5), (2, 5)]
    assert main(args) == 2  # asked before it measures
    assert "--overwrite" in capsys.readouterr().err

    # Without a place the samples are kept all the same, and nothing is replaced.
    monkeypatch.chdir(tmp_path)
    for name in ("benchmark.json", "benchmark2.json"):
        assert main(["benchmark", str(model), *QUICK]) == 0
        assert capsys.readouterr().err.splitlines()[-1] == f"saved: runs/{name}"
        assert len(read(tmp_path / "runs" / name)) == 1

    assert main(["compare", str(out), "--format", "csv"]) == 0
    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert [row[head.index("Threads")] for row in rows] == ["1", "2"]
    assert main(["compare", str(out), str(out), "--format", "md"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| Artifact |") and lines[1].startswith("|---|")
    assert "1.000" in lines[2]
    assert main(["compare", str(out), "--max-regression", "5"]) == 2
    assert "baseline first" in capsys.readouterr().err


def test_json_is_one_object_of_results(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(artifact), "--scope", "end-to-end", *QUICK, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    (result,) = written["results"]
    assert written["format_version"] == 1
    assert set(result["stages_s"]) == {"preprocess", "inference", "postprocess"}
    for index, taken in enumerate(result["latencies_s"]):
        assert taken == pytest.approx(sum(stage[index] for stage in result["stages_s"].values()))


def test_a_sustained_run_says_drift(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(model), "--sustained", "0.02", "--json"]) == 0
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)["results"]
    assert len(result["rounds"]) == 1
    assert len(result["latencies_s"]) > 50  # 1.2 seconds, and not --num-runs
    assert "drift " in captured.err


def test_a_program_that_plays_the_gpu_is_no_gpu(model: Path) -> None:
    if not SWIFTSHADER.is_file():
        pytest.skip("no SwiftShader: Debian's package chromium-common has it")
    command = [sys.executable, "-c", "import sys; from edgeseg.cli import main; sys.exit(main(sys.argv[1:]))"]
    command += ["benchmark", str(model), "--accelerator", "cpu,gpu", *QUICK, "--json"]
    environment = {**os.environ, "VK_DRIVER_FILES": str(SWIFTSHADER)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cpu, gpu = json.loads(done.stdout)["results"]
    assert (cpu["accelerator"], cpu["software_rendering"]) == ("cpu", False)
    assert (gpu["accelerator"], gpu["software_rendering"], gpu["fully_accelerated"]) == ("gpu", True, True)
    assert "SwiftShader" in gpu["runtime"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--device", "bluetooth"), "unknown device 'bluetooth'"),
        (("--num-threads", "1,two"), "accepted: 2 or 1,2,4"),
        (("--image", "x.png"), "--image goes with --scope end-to-end"),
        (("--max-secs", "1", "--min-secs", "2"), "--max-secs 1 is less than --min-secs 2"),
        (
            ("--sustained", "0.01", "--num-runs", "9", "--rounds", "2"),
            "omit --num-runs and --rounds.",
        ),
        (("--profile", "p", "--num-runs", "9", "--min-secs", "1"), "counts its calls alone: omit --min-secs."),
        (("--profile", "p", "--device", "ssh:pi5"), "--profile is of one device: this machine, or --device adb."),
        (("--accelerator", "gpuu"), "Did you mean 'gpu'?"),
    ],
)
def test_a_mistake_is_one_line(
    model: Path, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(model), *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert message in error


def test_a_missing_file_and_a_result_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(tmp_path / "none.tflite")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "r.json").write_text("{}")
    assert main(["compare", str(tmp_path / "r.json")]) == 2
    assert "is no benchmark result of edgeseg" in capsys.readouterr().err
