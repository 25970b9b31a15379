"""The argument ARTIFACT: files, packaged files by their names, and none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.cli._artifacts import split_sources
from edgeseg.errors import InputError
from edgeseg.models.packaged_files import DEFAULT_CAMERA_FILE, DEFAULT_FILE

SAID = f"no ARTIFACT given: the packaged {DEFAULT_FILE} (streets, 11 classes)\n"
CAMERA_SAID = f"no ARTIFACT given: the packaged {DEFAULT_CAMERA_FILE} (people before a webcam, 2 classes)\n"


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8))
    return str(path)


def test_what_is_no_image_is_the_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = (["a.png"], ["A.JPG", "b.mp4"], [str(tmp_path)], ["shots/*.jpg"], ["a.png", "m.tflite"], ["no suffix"])
    alone += (["-"], ["-", "a.png"], ["https://host/clip", "a.png"], ["rtsp://host/door", "a.png"])
    for sources in alone:
        assert split_sources(sources) == (None, tuple(sources))
    names = ("efficientnet_lite0_unet", "efficientnet_lite0_unet.fp16", "unet_mini")
    for artifact in ("m.tflite", "M.ONNX", "[v1]/m.tflite", *names):
        assert split_sources([artifact, "a.png"]) == (artifact, ("a.png",))
        with pytest.raises(InputError, match=f"'{re.escape(artifact)}' is an artifact without anything to run on"):
            split_sources([artifact])
    for artifact in ("m.tflite.rejected", "m.pb", "typo"):  # what opens it says what is wrong with it
        assert split_sources([artifact, "a.png"]) == (artifact, ("a.png",))
    monkeypatch.chdir(tmp_path)
    Path("efficientnet_lite0_unet").mkdir()  # the name goes first
    assert split_sources(["efficientnet_lite0_unet", "a.png"])[0] == "efficientnet_lite0_unet"
    with pytest.raises(InputError, match=r"What is here under that name is \./efficientnet_lite0_unet\.$"):
        split_sources(["efficientnet_lite0_unet"])
    alone = ("./efficientnet_lite0_unet",)
    assert split_sources(alone) == (None, alone)


def test_predict_without_artifact_into_one_file(photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    command = ["predict", "--save", str(out), photo]
    assert main(command) == 0
    assert capsys.readouterr().err == f"{SAID}saved: {out}\n"
    assert cv2.imread(str(out)).shape[0] == 48
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_predict_takes_a_name(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "efficientnet_lite0_unet.fp16", photo, "--json"]) == 0
    printed = capsys.readouterr()
    (image,) = json.loads(printed.out)["images"]
    assert sum(image["counts"].values()) == 48 * 60
    assert not printed.err


def test_the_other_commands_without_artifact(photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ran(*args: str, said: str = SAID) -> str:
        assert main([*args]) == 0
        printed = capsys.readouterr()
        assert printed.err.startswith(said)
        return printed.out

    ran("camera", "--source", photo, "--no-show", "--save", str(tmp_path / "out.png"), said=CAMERA_SAID)
    assert (tmp_path / "out.png").stat().st_size
    out = ("--output", str(tmp_path / "out.json"))
    quick = (*out, "--rounds", "1", "--num-runs", "1", "--min-secs", "0", "--max-secs", "1")
    assert f"{DEFAULT_FILE}.tflite" in ran("benchmark", *quick)
    shown = ran("inspect", "--accelerator", "cpu")
    assert f"next: edgeseg predict {DEFAULT_FILE} IMAGE --save out.png" in shown


def test_evaluate_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, values in (("images", np.full((48, 60, 3), 200, np.uint8)), ("labels", np.zeros((48, 60), np.uint8))):
        (tmp_path / "test" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "test" / folder / "sky.png"), values)
    data = ["--data", str(tmp_path), "--classes", "camvid", "--json"]
    assert main(["evaluate", *data]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(SAID)
    assert json.loads(printed.out)["artifact"] == DEFAULT_FILE
    assert main(["evaluate", "unet_mini", *data]) == 2
    assert "'unet_mini' is an architecture without packaged weights" in capsys.readouterr().err
    assert main(["evaluate", "unet_mini", *data, "--backend", "keras"]) == 2
    assert "'unet_mini' is an architecture without packaged weights" in capsys.readouterr().err
    assert main(["evaluate", DEFAULT_FILE, *data, "--backend", "keras"]) == 2
    assert "is a finished file; --backend keras goes with efficientnet_lite0_unet" in capsys.readouterr().err
    assert main(["evaluate", DEFAULT_FILE, *data, "--model-option", "decoder_filters=8"]) == 2
    assert "--model-option goes with a Keras model" in capsys.readouterr().err
