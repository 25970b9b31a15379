"""``train`` and ``_groups``: ``edgeseg train`` as a user runs it: options, refusals, and what it writes."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import click
import pytest

from edgeseg.cli import main
from edgeseg.cli._terminal import tell
from edgeseg.cli.train import command
from edgeseg.datasets import DataSource
from edgeseg.models.keras_files.load import read_spec


def test_every_option_is_under_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    grouped, _, rest = text.partition("\nOptions:\n")
    assert " ".join(rest.split()) == "-h, --help Show this message and exit."
    options = [param for param in command.params if isinstance(param, click.Option)]
    for option in options:
        assert grouped.count(f"  {option.opts[0]} ") == 1


def test_the_next_commands_get_the_same_data() -> None:
    source = DataSource(root="my cells", label_encoding="binary", classes="wall,cell", ignore_index=3)
    expected = "'my cells' --classes wall,cell --label-encoding binary --ignore-index 3"
    assert source.typed == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--class-weights", "median"), "give none, median-frequency, sqrt-median-frequency or numbers"),
        (("--clipnorm", "1", "--global-clipnorm", "1"), "two ways to clip; give one"),
        (("--freeze-epochs", "40"), "freeze_epochs must be 0 to 39"),
        (("--freeze-before", "conv2d_7"), "freeze_before does nothing without freeze_epochs"),
        (("--freeze-learning-rate", "1e-3"), "freeze_learning_rate does nothing without freeze_epochs"),
        (("--repeat", "0"), "0 is not in the range x>=1"),
        (("--weights", "nowhere.h5"), "'nowhere.h5' does not exist"),
        (("--output-dir", "run", "--resume"), "there is nothing to resume"),
        (("--resume", "run"), "there is nothing to resume: 'run/last.keras' does not exist"),
        (("--resume",), "there is nothing to resume"),
        (("--distribute", "workers"), "needs --output-dir"),
        (("--scale", "2", "1"), "scale must be (smallest, largest)"),
        (("--augmentation", "mosaic"), "'mosaic' is not one of 'crop', 'jitter', 'unet', 'hrnet', 'notes'"),
        (("--metric", "f-score,iou"), "unknown 'iou'"),
        (("--mean", "images"), "'images' is not a number or three"),
        (("--no-val", "--val-fraction", "0.1"), "validation is off (--no-val); give one"),
    ],
)
def test_wrong_settings_are_said_before_the_data_is_read(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert main(["train", "unet_mini", "--data", "nowhere", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["last.keras", "best.keras", "final.keras", "history.csv", "train.toml", "checkpoints/ep001-loss0.1.keras"]
)
def test_an_earlier_run_is_not_replaced_unasked(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Said before an image is read: the folder of the data is not even looked for."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"an earlier run")
    assert main(["train", "unet_mini", "--data", "nowhere", "--output-dir", str(tmp_path)]) == 2
    assert f"{name}' exists; give --overwrite" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == b"an earlier run"


def test_the_next_command_is_one_that_works(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a model with code of its own, on data without a test split."""
    import keras

    from edgeseg.models.keras_files.custom_objects import load_custom_objects

    data = Path(shutil.copytree(shapes_dataset, tmp_path / "data", ignore=shutil.ignore_patterns("test")))
    code = tmp_path / "layers.py"
    code.write_text(
        "import keras\n\n@keras.saving.register_keras_serializable('own')\nclass Same(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x\n"
    )
    inputs = keras.Input((16, 16, 3))
    keras.Model(inputs, keras.layers.Conv2D(3, 1)(load_custom_objects(str(code))["Same"]()(inputs))).save(
        tmp_path / "own.keras"
    )
    arguments = ["--data", str(data), "--custom-objects", str(code), "--output-dir", str(tmp_path / "run")]
    settings = ["--epochs", "1", "--batch-size", "5", "--samples", "0"]  # the default warm-up makes room
    assert main(["train", str(tmp_path / "own.keras"), *arguments, *settings]) == 0
    printed, said = capsys.readouterr()
    assert "'own' says nothing about its input" in said  # the file's name, not Keras' "functional"
    command_line = printed.partition("Next: edgeseg ")[2].partition("  |  ")[0]
    assert main(shlex.split(command_line)) == 0, command_line


def test_data_with_train_alone_is_trained_on_with_and_without_validation(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what is typed next is on a split that there is."""
    import keras

    data = Path(shutil.copytree(shapes_dataset, tmp_path / "data", ignore=shutil.ignore_patterns("val", "test")))
    inputs = keras.Input((16, 16, 3))
    body = keras.layers.Conv2D(4, 1, name="body")(inputs)
    keras.Model(inputs, keras.layers.Conv2D(3, 1, name="head")(body)).save(tmp_path / "own.keras")
    settings = ["--epochs", "1", "--samples", "0", "--augmentation", "tutorial"]
    arguments = ["train", str(tmp_path / "own.keras"), "--data", str(data), *settings, "--output-dir"]
    assert main([*arguments, str(tmp_path / "run")]) == 2
    assert "has train and no val: give --val-fraction 0.1" in capsys.readouterr().err
    frozen = ["--freeze-epochs", "all", "--freeze-before", "head"]
    assert main([*arguments, str(tmp_path / "run"), "--val-fraction", "0.2", *frozen]) == 0
    out, err = capsys.readouterr()
    file = tmp_path / "run" / "best.keras"
    assert out.splitlines()[0].startswith(f"{file}  val mIoU ")
    assert out.splitlines()[1] == f"Next: edgeseg export {file} --data {data} --split train"
    assert "epoch 1/1  loss" in err
    options = ["--no-val", "--no-check", "--mean", "data", "--std", "data", "--json", "--metric", "f-score,mean-iou"]
    assert main([*arguments, str(tmp_path / "last"), *options, "--metric", "pixel-accuracy", "--save-every", "1"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["best"], result["exported"]) == (None, str(tmp_path / "last" / "final.keras"))
    assert {"f_score", "mean_iou", "pixel_accuracy"} < result["history"][0].keys()
    assert "of the 10 training images: --mean " in err
    assert len(list((tmp_path / "last" / "checkpoints").glob("ep001-loss*.keras"))) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("op_by_op")
def test_ctrl_c_says_how_to_go_on(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pressed after the first epoch, while its line is written."""
    run = tmp_path / "run"
    arguments = ["train", "unet_mini", "--data", str(shapes_dataset), "--imgsz", "32,48", "--output-dir", str(run)]
    arguments += ["--epochs", "2", "--warmup-epochs", "1", "--samples", "0", "--no-check"]

    def pressed(text: str) -> None:
        tell(text)
        if text.startswith("epoch 1/2"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("edgeseg.cli.train.tell", pressed)
        assert main(arguments) == 130
    hint, last = (line for line in capsys.readouterr().err.splitlines() if line.startswith("edgeseg: "))
    said, _, command = hint.partition("; it goes on with: edgeseg ")
    assert said == f"edgeseg: '{run}' has the finished epochs"
    assert last.startswith("edgeseg: interrupted")
    # Repeated with other settings it is another run, and with --resume RUN alone it has its own.
    assert main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "seed was 0, is 1" in capsys.readouterr().err
    assert main([*arguments[:4], "--resume", str(run), "--output-dir", str(tmp_path)]) == 2
    assert "continues in that folder: omit --output-dir" in capsys.readouterr().err
    assert main(shlex.split(command)) == 0
    assert len((run / "history.csv").read_text().splitlines()) == 3

    # Alone it is the latest run of the folder.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert main(["train", "--resume"]) == 2
    run.rename(tmp_path / "runs" / "train")
    (tmp_path / "runs" / "train2").mkdir()
    capsys.readouterr()
    assert main(["train", "--resume"]) == 0
    assert capsys.readouterr().out.startswith("runs/train/best.keras  val mIoU ")
    assert main([*arguments[:4], "--resume"]) == 2, "the latest, with the settings that were typed"
    assert "'runs/train/last.keras' is of another run" in capsys.readouterr().err
    (tmp_path / "runs" / "train" / "train.toml").unlink()
    assert main(["train", "--resume", "runs/train"]) == 2
    assert "repeat the command that began it, with --output-dir runs/train --resume" in capsys.readouterr().err
    shutil.move(tmp_path / "runs" / "train", run)

    # Pressed before the first epoch of a new run: what is there is of the old one.
    def at_once(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeseg.training.fit.train", at_once)
    capsys.readouterr()
    assert main([*arguments, "--overwrite"]) == 130
    assert "--resume" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("op_by_op")
def test_a_run_begins_with_a_published_encoder(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frozen one is in the exported file as it was, its features in units of order 1; a wrong one is refused."""
    import keras
    import numpy as np

    from edgeseg.models.keras_files.load import load_keras_file

    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    theirs.save_weights(tmp_path / "vgg16.weights.h5")
    settings = ["--epochs", "1", "--freeze-epochs", "all", "--samples", "0", "--no-val", "--imgsz", "32"]
    arguments = ["train", "segnet", "--data", str(shapes_dataset), *settings, "--output-dir", str(tmp_path / "run")]
    assert main([*arguments, "--encoder-weights", str(tmp_path / "vgg16.weights.h5")]) == 0
    said = capsys.readouterr().err
    assert f"encoder: 26 tensors in 13 layers from '{tmp_path / 'vgg16.weights.h5'}'" in said
    model = load_keras_file(tmp_path / "run" / "final.keras")
    for number, name in ((1, "block1_conv1"), (13, "block5_conv3")):
        own = np.asarray(model.get_layer(f"conv2d_{number}").kernel)
        kernel = np.asarray(theirs.get_layer(name).kernel)[:, :, :: -1 if number == 1 else 1]  # RGB in place of BGR
        # Each filter is in another unit, and each of its inputs: of one row and column the angle is the same.
        turn = [np.dot(own[..., i, 0].ravel(), kernel[..., i, 0].ravel()) for i in range(3)]
        sizes = [np.linalg.norm(own[..., i, 0]) * np.linalg.norm(kernel[..., i, 0]) for i in range(3)]
        np.testing.assert_allclose(turn, sizes, rtol=1e-5)

    assert main([*arguments, "--encoder-weights", str(tmp_path / "run" / "nothing.h5")]) == 2
    assert "does not exist" in capsys.readouterr().err
    mobilenet = keras.applications.MobileNet(weights=None, alpha=0.25, include_top=False, input_shape=(32, 32, 3))
    mobilenet.save_weights(tmp_path / "mobilenet.weights.h5")
    wrong = [*arguments[:-1], str(tmp_path / "other"), "--encoder-weights", str(tmp_path / "mobilenet.weights.h5")]
    assert main(wrong) == 2
    assert "does not fill the encoder of segnet: nothing in it fills conv2d_1" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("shallow", "op_by_op")
def test_options_of_the_architecture_travel_from_training_to_the_artifact(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"alpha": 0.1, "filters": 8, "upsampling": "transposed", "bn_epsilon": 0.001}
    typed = [part for name, value in options.items() for part in ("--model-option", f"{name}={value}")]
    name, run = "deeplabv3plus_mobilenetv2", tmp_path / "run"
    settings = (
        "--data",
        str(shapes_dataset),
        "--imgsz",
        "32",
        "--epochs",
        "1",
        "--batch-size",
        "5",
        "--no-val",
        "--samples",
        "0",
    )
    assert main(["train", name, *typed, *settings, "--output-dir", str(run)]) == 0
    files = ["--output-dir", str(tmp_path), "--num-images", "1", "--precision", "fp32"]
    assert main(["export", str(run / "final.keras"), *files]) == 0
    capsys.readouterr()
    artifact = next(tmp_path.glob("*.fp32.tflite"))
    spec = read_spec(run / "final.keras")
    assert spec is not None and spec.provenance.model_options == options
    assert main(["inspect", str(artifact), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["provenance"]["model_options"] == options
    assert main(["inspect", str(artifact)]) == 0
    assert "upsampling=transposed, bn_epsilon=0.001" in capsys.readouterr().out
