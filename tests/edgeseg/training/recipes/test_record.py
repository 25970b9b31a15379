from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from edgeseg.datasets import DataSource
from edgeseg.errors import InputError
from edgeseg.training.config import TrainConfig
from edgeseg.training.recipes.recipe import Recipe
from edgeseg.training.recipes.record import differences, earlier, record
from edgeseg.training.run.options import RunOptions

#: A value of each field that is not its default.
OTHER: dict[str, Any] = {
    "model": "mobilenet_unet", "validate": False, "input_size": (64, 96), "crop_size": (32, 64),
    "mean": (1.5, 2.0, 3.0), "std": (4.0, 5.0, 6.0), "weights": "w é\".h5", "epochs": 9, "batch_size": 3, "repeat": 2,
    "freeze_epochs": "all", "freeze_batch_size": 5, "freeze_learning_rate": 1e-5, "freeze_before": "conv2d_3",
    "optimizer": "sgd", "learning_rate": 0.125, "nominal_batch_size": 16, "weight_decay": 0.0, "momentum": 0.5,
    "clipnorm": 1.0, "ema": 0.99, "schedule": "step", "warmup_epochs": 0, "warmup": "staircase",
    "final_learning_rate": 0.5, "loss": "focal+dice", "label_smoothing": 0.1, "focal_alpha": 1.0, "focal_gamma": 1.0,
    "dice_beta": 2.0, "dice_smooth": 1e-20, "class_weights": (1.0, 2.5), "output_weights": (1.0, 0.4),
    "main_output": "main", "augmentation": "unet", "batch_norm_momentum": None, "batch_norm_recalibration": 3,
    "augmentation_changes": {"scale": (0.5, 2.0), "pad_value": (1, 2, 3), "hue_change": "times"},
    "early_stopping": 4, "early_stopping_on": "loss", "mixed_precision": "bfloat16", "seed": 4294967295,
    "data": DataSource(root="d", layout="voc", classes="a,b", label_encoding="ids", ignore_index=0, color_map="m.txt"),
}  # fmt: skip
#: What cannot be set together with those.
REST: dict[str, Any] = {
    "val_fraction": 0.25, "model_options": {"dropout": 0.25}, "global_clipnorm": 2.0, "schedule": "exponential",
    "decay_rate": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("settings", [{}, OTHER, REST], ids=["defaults", "other", "rest"])
def test_a_record_gives_the_run_again(settings: dict[str, Any]) -> None:
    config = TrainConfig(**{"model": "unet_mini", "data": "d", **settings})
    options = RunOptions(metrics=("f-score", "mean-iou"), save_every=2, samples=3, tensorboard=True, distribute="auto")
    recipe = Recipe.parse(record(config, options, custom_objects="layers.py").encode(), "it")
    assert recipe.config() == config
    assert recipe.run_options() == options
    assert recipe.values["custom-objects"] == "layers.py"
    assert differences(config, {"settings": record(config)}) == []


def test_a_record_says_what_was_taken_for_what_was_not_set() -> None:
    config = TrainConfig(model="unet_mini", data="d", optimizer="sgd", freeze_epochs=2, class_weights="none")
    lines = record(config, known={"layout": "voc", "mean": (1.0, 2.0, 3.0)}, not_held=("loss",)).splitlines()
    _, _, rest = "\n".join(lines).partition("# Not set")
    for line in ('data-layout = "voc"', "mean = [1.0, 2.0, 3.0]", "learning-rate = 0.007", "warmup-epochs = 2"):
        assert f"\n# {line}" in rest
    assert "# freeze-batch-size = 8" in rest
    assert lines[1] == "# loss: given by a program, which this file cannot hold."
    # In comments, so that another optimizer has its own default.
    assert Recipe.parse("\n".join(lines).encode(), "it").config(optimizer="adam").learning_rate is None


@pytest.mark.parametrize("metrics", [[len], {"main": ["f-score"]}])
def test_metrics_of_a_program_are_not_in_a_record(metrics: Any) -> None:
    text = record(TrainConfig(model="unet_mini", data="d"), RunOptions(metrics=metrics))
    assert "# metrics: given by a program" in text
    assert "\nmetric" not in text


def test_what_a_file_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        record(TrainConfig(model="unet_mini", data="d\udcff"))


def test_runs_differ_in_what_was_set_otherwise() -> None:
    config = TrainConfig(model="unet_mini", data=DataSource(root="d"), learning_rate=1)
    same = TrainConfig(model="unet_mini", data="d", learning_rate=1.0)
    assert differences(config, {"settings": record(same)}) == []
    other = TrainConfig(model="unet_mini", data="d", epochs=3, learning_rate=1.0, mean=(1, 2, 3))
    differs = ["mean was (1.0, 2.0, 3.0), is None", "epochs was 3, is 40"]
    assert differences(config, {"settings": record(other)}) == differs


def test_a_run_of_an_earlier_edgeseg_is_compared_by_its_fields() -> None:
    config = TrainConfig(model="unet_mini", data="d", mean=(1, 2, 3), class_weights=(1, 2))
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    assert differences(config, {"config": saved}) == []
    assert differences(config, {"config": {**saved, "mean": "data"}}) == []  # it did not keep the numbers
    assert differences(config, {"config": {**saved, "seed": 3}}) == ["seed was 3, is 0"]


def test_a_run_from_before_options_of_architectures_is_the_same_run() -> None:
    config = TrainConfig(model="unet_mini", data="d")
    old = dataclasses.asdict(config)
    del old["model_options"]
    assert earlier(old) == config


def test_settings_of_an_earlier_edgeseg_are_read_under_todays_names() -> None:
    data = {"root": "d", "layout": None, "classes": None, "label_encoding": "colours", "ignore_index": None}
    old = {**dataclasses.asdict(TrainConfig(model="unet_mini", data="d")), "data": {**data, "colour_map": "map.txt"}}
    del old["early_stopping_on"], old["validate"]  # there were none
    old |= {"batch_norm_momentum": None, "augmentation_changes": {"flip": 0}, "class_weights": [1, 2]}
    config = earlier(json.loads(json.dumps({**old, "augmentation": "tutorial"})))
    assert config.data == DataSource(root="d", label_encoding="colors", color_map="map.txt")
    assert (config.augmentation, config.early_stopping_on, config.validate) == ("jitter", "val_mean_iou", True)
    assert (config.batch_norm_momentum, config.augmentation_changes, config.class_weights) == (
        None,
        {"flip": 0},
        (1, 2),
    )


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({"model": "unet_mini"}, "earlier edgeseg has no data"),
        ({"model": "m", "data": "d", "epochs": 0}, "epochs must be above 0, got 0"),
        ({"model": "m", "data": "d", "epochs": "1"}, 'epochs must be a whole number, got "1"'),
        ({"model": "m", "data": {"root": ["d"]}}, "data must be text in quotes"),
        ({"model": "m", "data": "d", "augmentation": 3}, "augmentation must be"),
        ({"model": "m", "data": "d", "augmentation_changes": [1]}, "it is a list; accepted: object"),
    ],
)
def test_what_are_no_settings_of_an_earlier_edgeseg_is_refused(saved: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"the training settings of an earlier edgeseg.*({said})|{said}"):
        earlier(saved)
