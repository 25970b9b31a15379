"""A user's own model on the command line: foreign files, their code, and weights for the zoo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

import edgeseg
from edgeseg.cli import main
from edgeseg.models import create

DATA = Path(__file__).parents[2] / "data"

CODE = """
import keras

class Doubling(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


class Doubling(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "their_layers.py"
    path.write_text(CODE)
    return path


@pytest.fixture(params=[".keras", ".h5"])
def own_model(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A model with a layer that Keras does not know; its logits are the colors."""
    inputs = keras.Input((16, 24, 3))
    x = Doubling(name="double")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, use_bias=False, name="head")(x))
    model.get_layer("head").set_weights([np.eye(3, dtype=np.float32)[None, None]])
    path = tmp_path / f"own{request.param}"
    model.save(path)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Images of one color each: red, green and blue are the classes."""
    root = tmp_path / "data"
    for folder in ("images", "labels"):
        (root / "test" / folder).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({"names": ["red", "green", "blue"]}))
    for index in range(3):
        image = np.zeros((16, 24, 3), np.uint8)
        image[..., 2 - index] = 200  # OpenCV writes BGR
        cv2.imwrite(str(root / "test" / "images" / f"{index}.png"), image)
        cv2.imwrite(str(root / "test" / "labels" / f"{index}.png"), np.full((16, 24), index, np.uint8))
    return root


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(args) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith("edgeseg: ")
    return error


def test_own_layers_are_exported(
    capsys: pytest.CaptureFixture[str], own_model: Path, code: Path, tmp_path: Path
) -> None:
    args = ("export", str(own_model), "--output-dir", str(tmp_path), "--num-images", "1", "--json")
    error = fails(capsys, *args)
    assert "Doubling ('double')" in error and "--custom-objects FILE.py" in error
    assert main([*args, "--custom-objects", str(code), "--imgsz", "32,48"]) == 0
    captured = capsys.readouterr()
    (artifact,) = json.loads(captured.out)["artifacts"]
    assert artifact["verification"]["passed"]
    assert "says nothing about its input" in captured.err


def test_a_model_of_opencvs_images_is_exported_and_evaluated_as_it_was_trained(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path
) -> None:
    """BGR and stretched: what ``cv2.imread`` and ``cv2.resize`` give."""
    inputs = keras.Input((16, 24, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, use_bias=False, name="head")(inputs))
    model.get_layer("head").set_weights([np.eye(3, dtype=np.float32)[::-1][None, None]])  # blue is the first channel
    path, how = str(tmp_path / "cv2.keras"), ("--color-order", "bgr", "--fit", "stretch", "--resize", "area")
    model.save(path)
    scores = {}
    for options in ((), how):
        assert main(["evaluate", path, "--data", str(dataset), "--json", *options]) == 0
        captured = capsys.readouterr()
        scores[options] = json.loads(captured.out)["per_class_iou"]
        assert [word in captured.err for word in ("letterbox", "RGB", "bilinear")] == [not options] * 3
    assert scores[()] == {"red": 0, "green": 1, "blue": 0}
    assert scores[how] == {"red": 1, "green": 1, "blue": 1}
    assert main(["export", path, *how, "--no-verify", "--output-dir", str(tmp_path)]) == 0
    spec = edgeseg.Segmenter(tmp_path / "cv2.fp32.tflite").spec
    assert (spec.color_order, spec.fit, spec.resize) == ("bgr", "stretch", "area")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "cv2.fp32.tflite"), "--data", str(dataset), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["per_class_iou"] == scores[how]
    error = fails(capsys, "evaluate", path, "--data", str(dataset), "--color-order", "rbg")
    assert "'rbg' is not one of 'rgb', 'bgr'" in error


def test_an_export_that_scales_pixels_twice_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    inputs = keras.Input((16, 24, 3))
    path = str(tmp_path / "own.keras")
    keras.Model(inputs, keras.layers.Conv2D(3, 1, name="first")(keras.ops.divide(inputs, 255))).save(path)
    args = ("export", path, "--no-verify", "--output-dir", str(tmp_path), "--overwrite")
    assert main([*args, "--mean", "127.5", "--std", "127.5"]) == 0
    assert "'own' can hardly see its images" in (error := capsys.readouterr().err)
    assert "'first' gets -0.00392 to 0.00392" in error and "Give --mean 0 --std 1" in error
    assert error.count("can hardly see") == 1
    assert main(args) == 0
    assert "can hardly see" not in (error := capsys.readouterr().err)
    assert (
        "scales pixels itself (its 'first' gets 0 to 1); assuming RGB, letterbox, bilinear, pixels in [0, 255]" in error
    )


def test_own_layers_are_evaluated(
    capsys: pytest.CaptureFixture[str], own_model: Path, code: Path, dataset: Path
) -> None:
    args = ("evaluate", str(own_model), "--data", str(dataset), "--mean", "0", "--std", "255", "--json")
    assert "Doubling ('double')" in fails(capsys, *args)
    assert main([*args, "--custom-objects", str(code)]) == 0
    assert json.loads(capsys.readouterr().out)["mean_iou"] == 1
    # Without its red, the red image is green: the options arrive.
    assert main([*args, "--custom-objects", str(code), "--mean", "255,0,0"]) == 0
    assert json.loads(capsys.readouterr().out)["per_class_iou"] == {"red": 0.0, "green": 0.5, "blue": 1.0}


def test_an_evaluation_is_printed_and_saved(
    capsys: pytest.CaptureFixture[str], own_model: Path, code: Path, dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "scores"
    args = ["evaluate", str(own_model), "--data", str(dataset), "--std", "255", "--custom-objects", str(code)]
    assert main([*args, "--mean", "255,0,0", "--save", str(folder)]) == 0
    out = capsys.readouterr().out
    # Both the red and the green image are taken for green.
    assert [line.split() for line in out.splitlines() if line.startswith(("red", "green", "mean"))] == [
        ["red", "0.0000", "-", "0.0000", "0.0000"],
        ["green", "0.5000", "0.5000", "1.0000", "0.6667"],
        ["mean", "0.5000", "0.7500", "0.6667"],
    ]
    assert "mIoU 0.5000  mPA 0.6667  pixel accuracy 0.6667  frequency-weighted IoU 0.5000" in out
    assert {path.name for path in folder.iterdir()} == {
        "confusion_matrix.csv", "confusion_matrix.png", "per_class.csv",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in folder.iterdir()}
    # The model is not even opened.
    error = fails(capsys, "evaluate", "gone.tflite", "--data", str(dataset), "--save", str(folder))
    assert "confusion_matrix.csv' exists; give --overwrite" in error
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_options_for_keras_models_are_refused_for_artifacts(
    capsys: pytest.CaptureFixture[str], artifact: Path, code: Path, dataset: Path
) -> None:
    for option, reason in (
        (("--custom-objects", str(code)), "is a finished file"),
        (("--mean", "0"), "says itself how to feed it"),
        (("--std", "255"), "says itself how to feed it"),
        (("--output", "aux"), "is a finished file"),
    ):
        error = fails(capsys, "evaluate", str(artifact), "--data", str(dataset), *option)
        assert f"edgeseg: {option[0]}" in error
        assert reason in error
    assert "and no other; omit --imgsz" in fails(
        capsys, "evaluate", str(artifact), "--data", str(dataset), "--imgsz", "32"
    )


def test_a_full_model_of_keras2_is_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    args = ["export", str(DATA / "legacy_separable_full.h5"), "--format", "tflite,onnx", "--output-dir", str(tmp_path)]
    assert main([*args, "--num-images", "2", "--json"]) == 0
    artifacts = json.loads(capsys.readouterr().out)["artifacts"]
    assert [Path(artifact["path"]).name for artifact in artifacts] == [
        "legacy_separable_full.fp32.tflite",
        "legacy_separable_full.fp32.onnx",
    ]
    assert all(artifact["verification"]["passed"] for artifact in artifacts)


def test_the_weights_table_is_on_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = create("unet_mini", num_classes=3, input_size=(32, 32))
    model.save_weights(tmp_path / "w.weights.h5")
    args = ["export", "unet_mini", "--weights", str(tmp_path / "w.weights.h5"), "--num-classes", "3", "--imgsz", "32"]
    assert main([*args, "--no-verify", "--output-dir", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["artifacts"]
    lines = [line.split() for line in captured.err.splitlines()]
    assert ["conv2d_1/vars/0", "conv2d_1/kernel", "3x3x3x32"] in lines
    assert len([line for line in lines if line[-1:] and "x" in line[-1] and "/kernel" in " ".join(line)]) == 11
    assert "22 tensors" in captured.err


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("legacy_plain_weights.h5", "holds weights only; give the architecture: edgeseg export NAME --weights"),
        ("none.h5", "does not exist"),
    ],
)
def test_files_that_are_no_models(capsys: pytest.CaptureFixture[str], model: str, text: str) -> None:
    assert text in fails(capsys, "export", str(DATA / model), "--no-verify")


def test_a_lambda(capsys: pytest.CaptureFixture[str], tmp_path: Path, code: Path) -> None:
    inputs = keras.Input((16, 24, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: 2 * x, name="twice")(inputs)).save(tmp_path / "x.keras")
    args = ("export", str(tmp_path / "x.keras"), "--no-verify", "--output-dir", str(tmp_path))
    assert "Lambda layers, Python bytecode that edgeseg never runs: 'twice'" in fails(capsys, *args)
    code.write_text(CODE + 'CUSTOM_OBJECTS = {"twice": Doubling}\n')
    assert main([*args, "--custom-objects", str(code)]) == 0


def test_code_that_does_not_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, code: Path) -> None:
    model = str(DATA / "legacy_plain_full.h5")
    code.write_text("1 / 0\n")
    assert "ZeroDivisionError in line 1" in fails(capsys, "export", model, "--custom-objects", str(code))
    assert "none.py' does not exist" in fails(capsys, "export", model, "--custom-objects", str(tmp_path / "none.py"))
    code.write_text(CODE)
    error = fails(capsys, "export", "unet_mini", "--custom-objects", str(code), "--no-verify")
    assert "--custom-objects goes with a model file" in error


def test_a_keras_model_is_no_artifact(capsys: pytest.CaptureFixture[str], shapes_dataset: Path, tmp_path: Path) -> None:
    assert "is a Keras model" in fails(capsys, "inspect", str(DATA / "legacy_plain_full.h5"))
    image = str(next((shapes_dataset / "test" / "images").iterdir()))
    error = fails(capsys, "predict", str(DATA / "legacy_plain_full.h5"), image, "--save", str(tmp_path / "out"))
    assert "does not say how its input is normalized" in error


def test_the_ties_of_the_delegates_pooling_are_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 24, 3))
    pooled = MaxPoolingWithArgmax2D()(keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(MaxUnpooling2D()(pooled)))
    model.save(tmp_path / "own.keras")
    args = ["export", str(tmp_path / "own.keras"), "--target", "xnnpack", "--output-dir", str(tmp_path)]
    assert main([*args, "--json"]) == 0
    (artifact,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert artifact["target"] == "xnnpack"
    assert 0 <= artifact["verification"]["other_ties"] < 0.01  # after a convolution and a ReLU ties are rare
    assert main([*args, "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert "of equal maxima LiteRT's CPU picked another one than Keras in 0." in out
    assert "on cpu: delegated" in out
    assert main(["inspect", artifact["path"], "--accelerator", "cpu"]) == 0
    assert "MaxUnpooling2D x1" in capsys.readouterr().out
