"""``edgeseg.cli``, ``_limits`` and ``_options``: each mistake: exit 2, one line on stderr that says what to do, no
traceback, nothing written.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgeseg._internal.limits.images import VARIABLE
from edgeseg.cli import main
from edgeseg.imaging import encode_image


def fails(capsys: pytest.CaptureFixture[str], *args: str, status: int = 2) -> str:
    assert main(args) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith("edgeseg: ")
    return error


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'export'?" in fails(capsys, "exprot")


def test_unknown_model_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'unet_mini'?" in fails(capsys, "export", "unet_mni")


def test_a_file_that_is_no_model_of_keras_is_no_mistyped_name(capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(capsys, "export", "unet_mini.fp16.tflite")
    assert "is no .keras or .h5 file, and no name of the zoo" in error


def test_export_on_another_keras_backend_is_told_to_change(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras.config.backend", lambda: "jax")
    assert "this is jax: unset KERAS_BACKEND" in fails(capsys, "export", "unet_mini")


def test_unknown_format_and_precision_name_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'tflite'?" in fails(capsys, "export", "--format", "tflit")
    assert "Did you mean 'fp16'?" in fails(capsys, "export", "--precision", "fp61")


def test_size_against_the_strides_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nearest: 512,512" in fails(capsys, "export", "mobilenet_unet", "--imgsz", "500")


def test_options_of_an_architecture_that_it_does_not_take(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    deeplab = ("export", "deeplabv3plus_mobilenetv2")
    error = fails(capsys, *deeplab, "--model-option", "output_strid=8")
    assert "has no option 'output_strid'. Did you mean 'output_stride'? It takes alpha, output_stride," in error
    assert "output_stride must be 16 or 8, got 4" in fails(capsys, *deeplab, "--model-option", "output_stride=4")
    assert "'alpha' is given twice" in fails(capsys, *deeplab, "--model-option", "alpha=1", "--model-option", "alpha=2")
    assert "'alpha' is not K=V" in fails(capsys, *deeplab, "--model-option", "alpha")
    data = ("--data", str(tmp_path))
    assert "unet_mini has no option 'alpha'" in fails(capsys, "train", "unet_mini", *data, "--model-option", "alpha=1")
    (tmp_path / "m.h5").touch()
    error = fails(capsys, "export", str(tmp_path / "m.h5"), "--model-option", "alpha=1")
    assert "--model-option goes with a zoo name" in error


def test_size_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "accepted: 512 or 384,480" in fails(capsys, "export", "--imgsz", "big")


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "a\nb", "", "x" * 101])
def test_a_name_that_is_no_files(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "is no name of a file: 1 to 100 characters, no slash" in fails(capsys, "export", "unet_mini", "--name", name)


def test_missing_model_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "does not exist" in fails(capsys, "export", str(tmp_path / "none.keras"), "--no-verify")


def test_truncated_model_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"PK\x03\x04 cut off")
    assert "may be truncated" in fails(capsys, "export", str(broken), "--no-verify")


def test_weights_for_another_class_count(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from edgeseg.models import create

    weights = tmp_path / "w.weights.h5"
    create("unet_mini", num_classes=4, input_size=(32, 32)).save_weights(weights)
    error = fails(
        capsys, "export", "unet_mini", "--weights", str(weights), "--num-classes", "7", "--output-dir", str(tmp_path)
    )
    assert "has 4 classes, the model has 7" in error
    assert "--num-classes 4" in error


def test_truncated_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from edgeseg.models import create

    weights = tmp_path / "w.weights.h5"
    create("unet_mini", num_classes=4, input_size=(32, 32)).save_weights(weights)
    weights.write_bytes(weights.read_bytes()[:5000])
    error = fails(capsys, "export", "unet_mini", "--weights", str(weights), "--output-dir", str(tmp_path))
    assert "w.weights.h5" in error
    assert list(tmp_path.iterdir()) == [weights]


def _image(folder: Path) -> str:
    path = str(folder / "x.png")
    Path(path).write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8)))
    return path


def test_image_that_does_not_decode(capsys: pytest.CaptureFixture[str], artifact: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8 not a jpeg")
    assert "does not decode as an image" in fails(capsys, "predict", str(artifact), str(bad), "--save", str(tmp_path))


def test_source_that_is_missing(capsys: pytest.CaptureFixture[str], artifact: Path, tmp_path: Path) -> None:
    error = fails(capsys, "predict", str(artifact), str(tmp_path / "no*.png"), "--save", str(tmp_path))
    assert "does not exist or has no images" in error


def test_output_that_exists(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "unet_mini.fp32.tflite").write_bytes(b"precious")
    args = ("export", "unet_mini", "--imgsz", "32", "--output-dir", str(tmp_path), "--no-verify")
    assert main(args) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "unet_mini.fp32.tflite").read_bytes() == b"precious"


def test_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    error = fails(capsys, "export", "--output-dir", str(in_the_way / "out"), "--no-verify")
    assert "cannot be written" in error


def test_artifact_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a.tflite", "a.onnx"):
        path = tmp_path / name
        path.write_bytes(b"not a model" * 10)
        assert name in fails(capsys, "inspect", str(path))
    assert "none of the known suffixes" in fails(capsys, "predict", __file__, _image(tmp_path), "--count")


def test_data_folder_that_is_none(capsys: pytest.CaptureFixture[str], artifact: Path, tmp_path: Path) -> None:
    assert "is not a labeled data set; looked for {split}/images" in fails(
        capsys, "evaluate", str(artifact), "--data", str(tmp_path)
    )
    assert "does not exist" in fails(capsys, "train", "unet_mini", "--data", str(tmp_path / "none"))


def test_data_of_another_class_count(capsys: pytest.CaptureFixture[str], artifact: Path, shapes_dataset: Path) -> None:
    error = fails(capsys, "evaluate", str(artifact), "--data", str(shapes_dataset))
    assert "the model has 5 classes, the data has 3" in error


def test_a_view_that_the_model_cannot_give_is_refused_before_the_first_image(
    capsys: pytest.CaptureFixture[str], artifact: Path, tmp_path: Path
) -> None:
    args = ("predict", str(artifact), _image(tmp_path), "--save", str(tmp_path / "out"), "--visualize")
    assert "a cut-out needs --classes" in fails(capsys, *args, "overlay,cutout")


def test_unknown_class_and_view(capsys: pytest.CaptureFixture[str], artifact: Path, tmp_path: Path) -> None:
    image = _image(tmp_path)
    assert "unknown class 'dog'" in fails(capsys, "predict", str(artifact), image, "--count", "--classes", "dog")
    assert "Did you mean 'overlay'?" in fails(capsys, "predict", str(artifact), image, "--visualize", "overly")


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("libGL.so.1: cannot open shared object file", "cv2", "OpenCV cannot be loaded: the system lacks libGL.so.1"),
        ("libgthread-2.0.so.0: cannot open shared object file", None, "sudo apt install libglib2.0-0"),
        (
            "/lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by libLiteRt.so)",
            "ai_edge_litert",
            "edgeseg: ai_edge_litert cannot be loaded: /lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.34' not",
        ),
        (
            "numpy.core.multiarray failed\nto import",
            None,
            "a package cannot be loaded: numpy.core.multiarray",
        ),
    ],
)
def test_a_library_that_does_not_load_is_named(
    text: str, name: str | None, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ImportError(text, name=name)

    monkeypatch.setattr("edgeseg.cli.cli.main", refuse)
    error = fails(capsys, "doctor")
    assert said in error
    assert ("OpenCV" in error) == (name == "cv2")


def test_images_above_the_limit_of_a_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "5000000")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(encode_image(np.zeros((20, 30), np.uint8)))
    data = ("data", "check", str(tmp_path), "--classes", "a,b")
    assert main(data) == 0
    assert main((*data, "--max-image-pixels", "599")) == 1
    assert "a.png' claims 30 x 20 pixels, more than 599" in capsys.readouterr().out
    assert os.environ[VARIABLE] == "5000000"  # the option is the command's
    assert "go with --data" in fails(capsys, "export", "unet_mini", "--max-image-pixels", "599")
    assert "x>=1" in fails(capsys, *data, "--max-image-pixels", "0")


#: JSON of no type: none at all, of another kind, nested too deeply, and too large a number.
BROKEN = {
    "empty": "",
    "cut": '{"format_version": 1, "results": [{',
    "list": "[3]",
    "deep": '{"names": ' + "[" * 100_000,
    "large": '{"format_version": 1e999, "names": 1e999}',
    "surrogate": r'{"format_version": "\ud800", "names": "\ud800"}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_json_of_results_and_classes(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
    broken = tmp_path / "b.json"
    broken.write_text(text)
    assert f"'{broken}' is no benchmark result of edgeseg: " in fails(capsys, "compare", str(broken))
    data = tmp_path / "data"
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
        (data / kind / "a.png").write_bytes(encode_image(np.zeros((8, 8), np.uint8)))
    (data / "classes.json").write_text(text)
    for command in (("data", "check"), ("evaluate", "unet_mini")):
        option = ("--data",) if command[0] == "evaluate" else ()
        assert "classes.json' is not of the form " in fails(capsys, *command, *option, str(data))
    assert "is not of the form " in fails(capsys, "data", "check", str(data), "--classes", str(broken))
