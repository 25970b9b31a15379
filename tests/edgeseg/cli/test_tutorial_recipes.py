"""The packaged recipes: each trains for an epoch as its tutorial does, and what it trained is exported and proven.

The models have the layers of the zoo's, and fewer and narrower blocks; and steps run op by op, as two of them take less
than tracing one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import keras
import pytest

from edgeseg.choices import TutorialRecipe
from edgeseg.cli import main
from edgeseg.models.zoo import deeplab, hrnet
from edgeseg.models.zoo.backbones import resnet
from edgeseg.training.recipes.recipe import Recipe

#: What is typed to make a run small.
SMALL = (
    "--epochs", "1", "--imgsz", "64", "--batch-size", "5", "--warmup-epochs", "0", "--samples", "0",
    "--encoder-weights", "none",
)  # fmt: skip


def small_xception(input_size: tuple[int, int]) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    inputs = keras.layers.Input((*input_size, 3))
    low_level = keras.layers.SeparableConv2D(8, 3, 4, "same", name="low")(inputs)
    x = keras.layers.BatchNormalization(name="low_bn")(low_level)
    return inputs, low_level, keras.layers.SeparableConv2D(8, 3, 4, "same", name="high")(x)


@pytest.fixture
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def small_hrnet(**arguments: Any) -> keras.Model:
        return hrnet.hrnetv2(**arguments, width=4, modules=(0, 0), blocks=1, name="hrnetv2_w32")

    monkeypatch.setattr(hrnet, "hrnetv2_w32", small_hrnet)
    monkeypatch.setattr(deeplab, "applications_encoder", small_xception)
    monkeypatch.setattr(resnet, "_BLOCKS", {50: (1, 1, 1, 1)})
    monkeypatch.setattr(resnet, "_FILTERS", (4, 4, 8, 8))


def export_and_prove(model: Path, data: Path) -> None:
    assert main(["export", str(model), "--data", str(data), "--split", "val", "--output-dir", str(model.parent)]) == 0
    assert len(list(model.parent.glob("*.tflite"))) == 1


@pytest.mark.usefixtures("small_models", "op_by_op")
@pytest.mark.parametrize(
    ("name", "typed"),
    [
        pytest.param("segnet-tutorial", (), marks=pytest.mark.slow),
        pytest.param("hrnet-tutorial", (), marks=pytest.mark.slow),
        ("deeplab-tutorial", ("--model-option", "filters=8")),
        pytest.param("unet-tutorial", (), marks=pytest.mark.slow),
    ],
)
def test_a_recipe_trains_and_its_model_is_exported(
    name: str, typed: tuple[str, ...], shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["--recipe", name, "--data", str(shapes_dataset), "--output-dir", str(run), *SMALL, *typed]
    assert main(["train", *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["history"]) == 1
    # All that was not typed is the tutorial's.
    recorded, tutorial = Recipe.open(run / "train.toml").values, Recipe.open(name).values
    changed = {key for key, value in tutorial.items() if recorded[key] != value}
    assert changed <= {"epochs", "imgsz", "batch-size", "encoder-weights", "model-option"}
    export_and_prove(Path(result["exported"]), shapes_dataset)


@pytest.mark.slow
@pytest.mark.usefixtures("op_by_op")
def test_the_notes_recipe_has_the_statistics_of_the_images(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--recipe", "notes-tutorial", "--data", str(shapes_dataset), "--output-dir", "run", *SMALL]
    assert main(["train", *arguments]) == 0
    assert "of the 10 training images: --mean " in capsys.readouterr().err
    config = Recipe.open(tmp_path / "run" / "train.toml").config()
    assert (config.augmentation, config.schedule, config.warmup) == ("notes", "constant", "staircase")
    assert not isinstance(config.mean, str)
    export_and_prove(tmp_path / "run" / "best.keras", shapes_dataset)


def test_every_packaged_recipe_is_run_above() -> None:
    (mark,) = (mark for mark in test_a_recipe_trains_and_its_model_is_exported.pytestmark if mark.name == "parametrize")
    names = {getattr(case, "values", case)[0] for case in mark.args[1]}
    assert names | {"notes-tutorial"} == set(get_args(TutorialRecipe))
