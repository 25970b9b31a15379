"""``_recipes``: ``edgeseg train --recipe``: which settings win, and how a recipe is refused on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from edgeseg.choices import TutorialRecipe
from edgeseg.cli import cli, main
from edgeseg.cli.train import command
from edgeseg.training.config import TrainConfig
from edgeseg.training.recipes.keys import TYPED_ONLY, keys
from edgeseg.training.run.options import RunOptions

RECIPE = """
model = "unet_mini"
data = "cells"
classes = "wall,red"
imgsz = [32, 48]
mean = [1.5, 2, 3]
val = false
class-weights = [1, 2.5]
learning-rate = 1e-5
batch-norm-momentum = "none"
scale = [0.5, 2]
blur = 0.5
blur-size = 7
hsv = [0.1, 0.2, 0.3]
metric = ["f-score", "mean-iou"]
samples = 2
check = false
output-dir = "run"

[model-option]
dropout = 0.25
"""


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What ``train`` is called with, in a folder with a recipe ``r.toml``."""
    (tmp_path / "r.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {}

    def train(config: TrainConfig, folder: Path, options: RunOptions, custom_objects: Any) -> None:
        values.update(config=config, folder=folder, options=options)
        raise click.Abort

    monkeypatch.setattr("edgeseg.training.fit.train", train)
    monkeypatch.setattr("edgeseg.datasets.training_splits.training_splits", lambda data, **settings: None)
    return values


def test_a_recipe_has_all_that_is_not_typed(called: dict[str, Any]) -> None:
    assert main(["train", "--recipe", "r.toml"]) == 130
    config, options = called["config"], called["options"]
    assert (config.model, config.data.root, config.data.classes) == ("unet_mini", "cells", "wall,red")
    assert (config.input_size, config.mean, config.class_weights) == ((32, 48), (1.5, 2.0, 3.0), (1.0, 2.5))
    assert (config.validate, config.learning_rate, config.batch_norm_momentum) == (False, 1e-5, None)
    assert config.model_options == {"dropout": 0.25}
    expected = {"scale": (0.5, 2.0), "blur": 0.5, "blur_size": 7, "hsv": (0.1, 0.2, 0.3)}
    assert config.augmentation_changes == expected  # blur_size has no option
    assert (options.metrics, options.samples) == (("f-score", "mean-iou"), 2)
    assert called["folder"] == Path("run")


def test_what_is_typed_wins(called: dict[str, Any]) -> None:
    typed = ["--data", "other", "--imgsz", "64", "--val", "--class-weights", "none", "--learning-rate", "0.5"]
    typed += ["--batch-norm-momentum", "0.5", "--blur", "0.25", "--metric", "pixel-accuracy", "--output-dir", "there"]
    for arguments in (["--recipe", "r.toml", *typed], [*typed, "--recipe", "r.toml"]):
        assert main(["train", *arguments]) == 130
        config = called["config"]
        assert (config.data.root, config.data.classes, config.input_size) == ("other", "wall,red", (64, 64))
        assert (config.validate, config.class_weights, config.learning_rate) == (True, "none", 0.5)
        assert config.batch_norm_momentum == 0.5
        assert config.augmentation_changes["blur"] == 0.25
        assert (called["options"].metrics, called["folder"]) == (("pixel-accuracy",), Path("there"))


def test_a_single_option_of_the_model_may_be_typed(called: dict[str, Any]) -> None:
    arguments = ["--recipe", "deeplab-tutorial", "--data", "d", "--no-check", "--model-option", "filters=16"]
    assert main(["train", *arguments]) == 130
    options = called["config"].model_options
    assert (options["filters"], options["trunk"], options["separable"]) == (16, "applications", False)


@pytest.mark.parametrize(
    ("change", "typed", "message"),
    [
        ("\nepoch = 3", [], "recipe 'r.toml', line 2: unknown setting 'epoch'. Did you mean 'epochs'?"),
        ("epochs = 0", [], "recipe 'r.toml', line 1: epochs: 0 is not in the range x>=1."),
        ("epochs = '3'", [], "recipe 'r.toml', line 1: epochs must be a whole number, got \"3\"."),
        ("label-smoothing = 1.5", [], "line 1: label-smoothing: 1.5 is not in the range 0<=x<1."),
        ("hsv = [0.1, 0.2]", [], "line 1: hsv must be [X, X, X], got [0.1, 0.2]."),
        ("weights = 'none.h5'", [], "line 1: weights: File 'none.h5' does not exist."),
        ("metric = 'iou'", [], "line 1: metric: unknown 'iou'."),
        ("resume = true", [], "line 1: 'resume' is no setting of a recipe: --resume is typed."),
        ("epochs = 9\nfreeze-epochs = 9", [], "line 2: freeze_epochs must be 0 to 8, or all, got 9."),
        ("epochs = 9", ["--freeze-epochs", "9"], "with recipe 'r.toml': freeze_epochs must be 0 to 8"),
        ("model-option = {alpha = 1}", [], "line 1: model_options"),
        ("imgsz = 33", [], "the input size of unet_mini must be divisible by 4"),
    ],
)
def test_a_mistake_is_one_line(
    called: dict[str, Any], capsys: pytest.CaptureFixture[str], change: str, typed: list[str], message: str
) -> None:
    key = change.split("=")[0].strip()
    rest = [line for line in RECIPE.partition("[model")[0].splitlines() if not line.startswith(f"{key} ")]
    Path("r.toml").write_text("\n".join([change, *rest]))
    assert main(["train", "--recipe", "r.toml", *typed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line or (key == "model-option" and "unet_mini has no option 'alpha'" in line)
    assert called == {}


def test_a_model_and_data_are_asked_for(called: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.toml").write_text("epochs = 3")
    assert main(["train", "--recipe", "r.toml", "--data", "d"]) == 2
    assert "Missing argument 'MODEL': a zoo name or a file. Or give a --recipe" in capsys.readouterr().err
    assert main(["train", "unet_mini", "--recipe", "r.toml"]) == 2
    assert "Missing option '--data'" in capsys.readouterr().err


def test_an_unknown_recipe_lists_the_packaged_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "segnet-tutorail", "--data", "d"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no recipe 'segnet-tutorail'. Did you mean 'segnet-tutorial'?" in line
    assert all(name in line for name in get_args(TutorialRecipe))


def test_the_keys_are_the_options_of_the_command() -> None:
    """By the names on the command line, and for the fields that these fill."""
    named = {name.lstrip("-"): str(param.name) for param in command.params for name in param.opts}
    of_a_program = {"aspect-of", "scale-of", "whole-degrees", "pad-value", "blur-size", "hue-change", "inverse-factors"}
    assert keys().keys() - of_a_program == named.keys() - set(TYPED_ONLY)
    fields = {"root": "data", "layout": "data_layout"}
    for name, key in keys().items():
        assert name in of_a_program or named[name] == fields.get(key.field, key.field)


def test_help_and_completion_name_the_packaged_recipes() -> None:
    text = "".join(CliRunner().invoke(cli, ["train", "--help"]).output.split())  # which breaks lines at hyphens
    assert all(name in text for name in get_args(TutorialRecipe))
    complete = ShellComplete(cli, {}, "edgeseg", "_EDGESEG_COMPLETE")
    proposed = complete.get_completions(["train", "--recipe"], "")
    assert [item.value for item in proposed if item.type == "plain"] == list(get_args(TutorialRecipe))
    assert [item.type for item in complete.get_completions(["train", "--recipe"], "run/t")] == ["file"]


@pytest.mark.usefixtures("op_by_op")
def test_a_run_writes_the_recipe_that_repeats_it_bit_for_bit(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the numbers of the data, dropout, augmentation, code of its own; and it is resumed by that recipe."""
    import keras
    import numpy as np

    from edgeseg.models.keras_files.custom_objects import load_custom_objects
    from edgeseg.models.keras_files.load import load_keras_file

    monkeypatch.chdir(tmp_path)
    Path("layers.py").write_text(
        "import keras\n\n@keras.saving.register_keras_serializable('own')\nclass Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x + x\n"
    )
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    x = keras.layers.Dropout(0.5)(load_custom_objects("layers.py")["Twice"]()(x))
    keras.Model(inputs, keras.layers.Conv2D(3, 1)(x)).save("own.keras")
    first = ["own.keras", "--data", str(shapes_dataset), "--custom-objects", "layers.py", "--mean", "data", "--std"]
    first += ["data", "--epochs", "2", "--batch-size", "5", "--seed", "7", "--metric", "f-score", "--rotate", "0.5"]
    assert main(["train", *first, "--output-dir", "first", "--samples", "0"]) == 0
    settings = Path("first/train.toml").read_text()
    assert 'custom-objects = "layers.py"' in settings
    assert '\nmean = "data"' not in settings and "\nmean = [" in settings
    assert "# data-layout = " in settings and "# ignore-index = 255" in settings

    assert main(["train", "--recipe", "first/train.toml", "--output-dir", "second"]) == 0
    weights = [load_keras_file(f"{run}/last.keras", custom_objects=load_custom_objects("layers.py")).weights for run in
               ("first", "second")]  # fmt: skip
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert Path("second/train.toml").read_text() == settings

    # Its epochs are done: nothing is trained, whether by the recipe or by what was typed at first.
    capsys.readouterr()
    for arguments in (["--recipe", "first/train.toml"], first):
        assert main(["train", *arguments, "--output-dir", "first", "--resume", "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["history"]) == 2
    assert main(["train", "--recipe", "first/train.toml", "--output-dir", "first", "--resume", "--seed", "8"]) == 2
    assert "is of another run (seed was 7, is 8)" in capsys.readouterr().err
    assert main(["train", "--recipe", "first/train.toml", "--output-dir", "first"]) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err


def test_a_recipe_in_the_folder_of_the_run_is_not_replaced_unasked(
    called: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("train.toml").write_text(RECIPE)
    assert main(["train", "--recipe", "train.toml", "--output-dir", "."]) == 2
    assert "train.toml' exists; give --overwrite" in capsys.readouterr().err
