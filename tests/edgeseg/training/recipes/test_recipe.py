"""``keys`` and ``recipe``: what a file of settings gives, and how it is refused."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

from edgeseg.choices import TutorialRecipe
from edgeseg.datasets import DataSource
from edgeseg.errors import InputError
from edgeseg.models.zoo.table import find
from edgeseg.training.config import TrainConfig
from edgeseg.training.data.augment import Augmentation
from edgeseg.training.recipes.keys import keys
from edgeseg.training.recipes.recipe import Recipe


def read(text: str) -> Recipe:
    return Recipe.parse(text.encode(), "recipe 'r.toml'")


SETTINGS = """
model = "unet_mini"
data = "cells"
label-encoding = "binary"
imgsz = 64
crop-size = [32, 48]
mean = 127.5
std = [1, 2, 3]
learning-rate = 1
freeze-epochs = "all"
class-weights = [1, 2.5]
val = false
batch-norm-momentum = "none"
scale = [0.5, 2]
blur = 0.25
blur-size = 7
metric = "f-score,mean-iou"
samples = 2

[model-option]
dropout = 0.3
"""


def test_settings_have_the_types_of_their_fields() -> None:
    recipe = read(SETTINGS)
    assert recipe.config() == TrainConfig(
        model="unet_mini",
        data=DataSource(root="cells", label_encoding="binary"),
        input_size=(64, 64),
        crop_size=(32, 48),
        mean=(127.5, 127.5, 127.5),
        std=(1.0, 2.0, 3.0),
        learning_rate=1.0,
        freeze_epochs="all",
        class_weights=(1.0, 2.5),
        validate=False,
        batch_norm_momentum=None,
        augmentation_changes={"scale": (0.5, 2.0), "blur_size": 7, "blur": 0.25},
        model_options={"dropout": 0.3},
    )
    assert recipe.run_options().metrics == ("f-score", "mean-iou")
    assert recipe.run_options(samples=0).samples == 0


def test_what_a_program_gives_wins() -> None:
    recipe = read(SETTINGS)
    changed = recipe.config(data="other", epochs=3, augmentation_changes={"scale": (1.0, 2.0)}, model_options={})
    assert changed.data == DataSource(root="other", label_encoding="binary")
    assert (changed.epochs, changed.model_options) == (3, {"dropout": 0.3})
    assert changed.augmentation_changes == {"scale": (1.0, 2.0), "blur_size": 7, "blur": 0.25}
    source = DataSource(root="voc", classes="voc")
    assert recipe.config(data=source).data == source
    assert read('model = "unet_mini"').config(data=Path("d")).data == "d"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nepoch = 3", "line 2: unknown setting 'epoch'. Did you mean 'epochs'? Settings are the options of"),
        ("input_size = 3", "line 1: unknown setting 'input_size'. Did you mean 'imgsz'?"),
        ("no-val = true", "line 1: unknown setting 'no-val'. Did you mean 'val'?"),
        ("--epochs = 3", "line 1: unknown setting '--epochs'. Did you mean 'epochs'?"),
        ("learning_rate = 3", "Did you mean 'learning-rate'?"),
        ("[optimizers]\nname = 'adam'", "line 1: unknown setting 'optimizers'. Did you mean 'optimizer'?"),
        ("recipe = 'a.toml'", "line 1: 'recipe' is no setting of a recipe: --recipe is typed."),
        ("overwrite = true", "--overwrite is typed"),
        ("size = 3", "unknown setting 'size'"),
        ("epochs = '3'", 'line 1: epochs must be a whole number, got "3".'),
        ("epochs = 3.0", "epochs must be a whole number, got 3.0."),
        ("epochs = true", "epochs must be a whole number, got true."),
        ("val = 1", "val must be true or false, got 1."),
        ("model = 3", "model must be text in quotes, got 3."),
        ("learning-rate = inf", "learning-rate must be a number, got inf."),
        ("momentum = nan", "momentum must be a number, got nan."),
        (f"momentum = {10**400}", "momentum must be a number, got 1000"),
        ("seed = 2026-11-29", "seed must be a whole number, got the time 2026-11-29."),
        ("imgsz = [1, 2, 3]", "imgsz must be a number or [N, N], got [1, 2, 3]."),
        ("imgsz = 0.5", "imgsz must be a number or [N, N], got 0.5."),
        ("scale = 2", "scale must be [X, X], got 2."),
        ("optimizer = 'adm'", '"adam", "sgd" or "rmsprop", got "adm". Did you mean \'adam\'?'),
        ("class-weights = 'median'", '"sqrt-median-frequency" or a list of numbers, got "median".'),
        ("class-weights = []", "class-weights must be"),
        ("model-option = 3", "model-option must be a table, such as {name = value}, got 3."),
        ("a = ", "recipe 'r.toml' is not TOML"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        read(text)
    assert str(refused.value).startswith("recipe 'r.toml'")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_setting_out_of_its_range_is_named_with_its_line() -> None:
    recipe = read('model = "unet_mini"\nepochs = 0\nlearning-rate = -1.0')
    with pytest.raises(InputError, match=r"^recipe 'r.toml', line 2: epochs must be above 0, got 0\.$"):
        recipe.config(data="d")
    with pytest.raises(InputError, match=r"^recipe 'r.toml', line 3: learning_rate must be above 0"):
        recipe.config(data="d", epochs=1)
    # Not the file's fault.
    with pytest.raises(InputError, match=r"^with recipe 'r.toml': epochs must be above 0, got -1"):
        recipe.config(data="d", epochs=-1)
    with pytest.raises(InputError, match=r"^recipe 'r.toml' has no data; give one"):
        recipe.config()
    with pytest.raises(InputError, match=r"^recipe 'r.toml' has no model; give one"):
        read("epochs = 1").config(data="d")


def test_every_field_has_a_key_and_no_two_the_same() -> None:
    by_owner = {owner: {key.field for key in keys().values() if key.owner == owner} for owner in ("config", "data")}
    fields = {field.name for field in dataclasses.fields(TrainConfig)} - {"data", "augmentation_changes"}
    assert by_owner == {"config": fields, "data": {field.name for field in dataclasses.fields(DataSource)}}
    of_images = {key.field for key in keys().values() if key.owner == "augmentation"}
    assert of_images == {field.name for field in dataclasses.fields(Augmentation)} - {"size", "resize"}
    for key in keys().values():
        assert key.accepted and not key.accepted.startswith(" or"), key


def test_a_recipe_is_a_file_or_a_packaged_name(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("epochs = 3")
    assert Recipe.open(path).values == {"epochs": 3}
    with pytest.raises(InputError, match=r"^recipe '.*none.toml|'.*none.toml' cannot be read"):
        Recipe.open(tmp_path / "none.toml")
    with pytest.raises(InputError) as refused:
        Recipe.open("unet-tutorials")
    assert "there is no recipe 'unet-tutorials'. Did you mean 'unet-tutorial'?" in str(refused.value)
    assert all(name in str(refused.value) for name in get_args(TutorialRecipe))


def test_the_packaged_recipes_are_the_files() -> None:
    folder = files("edgeseg.training.recipes")
    packaged = {file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")}
    assert packaged == set(get_args(TutorialRecipe))


@pytest.mark.parametrize("name", get_args(TutorialRecipe))
def test_each_line_of_a_packaged_recipe_says_where_it_is_from(name: str) -> None:
    text = (files("edgeseg.training.recipes") / f"{name}.toml").read_text()
    assert text.startswith("# ")
    for line in text.splitlines():
        if line and not line.startswith(("#", "[")):
            setting, _, source = line.partition("  # ")
            assert setting and source.strip(), line
    config = Recipe.open(name).config(data="d")
    size = config.input_size
    assert size is not None
    find(config.model).check_size(size)
    assert Recipe.open(name).values["model"] == config.model


@pytest.mark.parametrize("name", get_args(TutorialRecipe))
def test_the_options_of_a_tutorials_model_are_those_that_the_zoo_knows(name: str) -> None:
    config = Recipe.open(name).config(data="d")
    zoo_model = find(config.model)
    options = zoo_model.not_default(config.model_options)
    of = ("the DeepLabv3+ tutorial", "the SegNet tutorial, as it trains")
    tutorials = [variant.options for variant in zoo_model.variants if variant.of in of]
    assert options == (dict(tutorials[0]) if tutorials else {})
