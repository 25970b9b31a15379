"""The wheel in an empty environment with ``[tflite]`` only: what a device has."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def device(wheel: Path, new_environment: Callable[..., Path]) -> Path:
    """Folder of the environment's programs."""
    return new_environment(f"{wheel}[tflite]")


def test_the_workstations_packages_are_not_there(device: Path) -> None:
    for package in ("tensorflow", "keras", "onnxruntime", "onnx"):
        assert run(device / "python", "-c", f"import {package}").returncode != 0, package


def test_the_reports_page_is_in_the_wheel(device: Path) -> None:
    assert list(device.parent.rglob("edgeseg_converters/report/page.html.j2"))


def test_the_recipes_are_in_the_wheel(device: Path) -> None:
    assert len(list(device.parent.rglob("edgeseg/training/recipes/*-tutorial.toml"))) == 5


def test_the_wheel_is_small_and_names_its_sources(wheel: Path) -> None:
    assert wheel.stat().st_size <= 15_000_000
    with zipfile.ZipFile(wheel) as files:
        (notice,) = (name for name in files.namelist() if name.endswith("licenses/NOTICE"))
        assert "Creative Commons Attribution 4.0" in files.read(notice).decode()


def test_it_runs_what_the_wheel_carries(device: Path, street_clip: Path, tmp_path: Path) -> None:
    """The first hour: as typed after the install, with no file but the user's own image and video."""
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    edgeseg, out = device / "edgeseg", tmp_path / "out.png"
    talking, film = street_clip.with_name("carphone_pristine.mp4"), tmp_path / "out.mp4"
    quick = ("--rounds", "1", "--num-runs", "1", "--min-secs", "0", "--max-secs", "1")
    streets, people = (f"no ARTIFACT given: the packaged {name}.int8" for name in ("efficientnet_lite0_unet", "person"))
    # What PyAV would add is said once of reading and once of writing.
    without_av = (
        "edgeseg: videos are read by OpenCV",
        people,
        f"edgeseg: '{film}' will be MPEG-4 Part 2",
        "10 frames, ",
    )
    for command, said in (
        (("predict", "--save", out, photo), (streets, f"saved: {out}")),
        (("camera", "--source", talking, "--no-show", "--save", film, "--max-frames", "10"), without_av),
        (("benchmark", *quick, "--output", tmp_path / "out.json"), (streets, "saved: ")),
    ):
        done = run(edgeseg, *command)
        assert done.returncode == 0, done.stderr
        # A benchmark says as well how busy the machine was.
        lines = [line for line in done.stderr.splitlines() if not line.startswith("local: ")]
        for line, beginning in zip(lines, said, strict=True):
            assert line.startswith(beginning)
    assert cv2.imread(str(out)).shape[0] == 48
    assert cv2.VideoCapture(str(film)).get(cv2.CAP_PROP_FRAME_COUNT) == 10
    named = run(edgeseg, "predict", "efficientnet_lite0_unet.fp16", photo, "--count")
    assert named.returncode == 0, named.stderr
    refused = run(edgeseg, "predict", "unet_mini", photo, "--count")
    assert refused.returncode == 2
    assert "without packaged weights: train it (edgeseg train unet_mini --data DIR)" in refused.stderr


def test_it_predicts(device: Path, tmp_path: Path) -> None:
    import keras

    from edgeseg.models import create
    from edgeseg_converters import export

    keras.utils.set_random_seed(0)
    artifact = export(create("unet_mini", num_classes=3, input_size=(32, 48)), verify=False).save(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), photo)
    done = run(device / "edgeseg", "predict", artifact, tmp_path / "p.png", "--save", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (image,) = json.loads(done.stdout)["images"]
    assert sum(image["counts"].values()) == 40 * 60
    assert cv2.imread(image["files"][0]).shape[0] == 40


def test_it_inspects(device: Path, tmp_path: Path) -> None:
    """Coverage is asked without the workstation's packages."""
    import keras

    from edgeseg.models import create
    from edgeseg_converters import export

    keras.utils.set_random_seed(0)
    artifact = export(create("unet_mini", num_classes=3, input_size=(32, 48)), verify=False).save(tmp_path)
    done = run(device / "edgeseg", "inspect", artifact, "--accelerator", "cpu,nnapi", "--json")
    assert done.returncode == 0, done.stderr
    coverage = {found["accelerator"]: found for found in json.loads(done.stdout)["coverage"]}
    assert coverage["cpu"]["source"] == "asked"
    assert 0 < coverage["cpu"]["delegated"] < coverage["cpu"]["total"]
    assert coverage["nnapi"]["source"] == "table"


def test_export_says_what_to_install(device: Path) -> None:
    done = run(device / "edgeseg", "export", "--format", "tflite")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "edgeseg[convert]"' in done.stderr


def test_doctor_says_what_is_missing(device: Path) -> None:
    done = run(device / "edgeseg", "doctor")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines()[2:]}
    assert "missing" in lines["tensorflow"]
    assert 'pip install --upgrade "edgeseg[train]"' in lines["tensorflow"]
    assert lines["ai-edge-litert"].rstrip().endswith("ok")
