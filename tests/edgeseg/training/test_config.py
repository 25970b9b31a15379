from __future__ import annotations

from typing import Any

import pytest

from edgeseg.errors import InputError
from edgeseg.training.config import TrainConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0"),
        ({"warmup_epochs": 40}, "warmup_epochs must be 0 to 39"),
        ({"epochs": 2, "warmup_epochs": 2}, "warmup_epochs must be 0 to 1 with 2 epochs, got 2"),
        ({"loss": "hinge"}, "loss must be one of cross-entropy, focal, dice"),
        ({"loss": {"a": "dice", "b": "dise"}}, "loss must be one of .*, got dise. Did you mean 'dice'?"),
        ({"loss": "binary_focal_crossentropy"}, "loss must be one of .* sparse_categorical_crossentropy, got binary_f"),
        ({"loss": {}}, "loss must be a name, or one for each output, got {}"),
        ({"probability_clip": 0.0}, "probability_clip must be above 0 and below 0.5, got 0.0"),
        ({"optimizer": "rmsprop", "momentum": 0.5}, "momentum does nothing without optimizer adamw, adam or sgd"),
        ({"loss": "dice", "class_weights": (1.0, 2.0)}, "class_weights does nothing without a loss with cross-entropy"),
        (
            {"class_weights": "none", "class_weight_normalization": False},
            "class_weight_normalization does nothing without class_weights and a loss",
        ),
        ({"seed": -1}, "seed must be 0 to 4294967295, got -1"),
        ({"freeze_epochs": 40}, "freeze_epochs must be 0 to 39, or all, got 40"),
        ({"freeze_epochs": "every"}, "freeze_epochs must be 0 to 39, or all, got every"),
        ({"val_fraction": 1.0}, "val_fraction must be above 0 and below 1, got 1.0"),
        ({"val_fraction": 0.1, "validate": False}, "validation is off .* give one"),
        ({"early_stopping": 2, "validate": False}, "there is no val_mean_iou without validation .* can be loss"),
        ({"early_stopping_on": "loss"}, "early_stopping_on does nothing without early_stopping"),
        ({"early_stopping": 2, "early_stopping_on": "val_f_score"}, "must be one of val_mean_iou, val_loss, loss"),
        ({"mean": "images"}, "mean must be numbers, or data, got images"),
        ({"ema": 1.0}, "ema must be 0 to below 1, got 1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be 0 to below 1, got 1.0"),
        ({"loss": "focal", "focal_gamma": -1.0}, "focal_gamma must be 0 or more, got -1.0"),
        ({"loss": "dice", "dice_smooth": 0.0}, "dice_smooth must be above 0, got 0.0"),
        ({"optimizer": "lion"}, "optimizer must be one of adamw, adam, sgd, rmsprop, got lion"),
        ({"class_weights": "median"}, "class_weights must be none, median-frequency, sqrt-median-frequency or numbers"),
        ({"clipnorm": 1.0, "global_clipnorm": 1.0}, "give one"),
        ({"augmentation_changes": {"scale": (2.0, 1.0)}}, "scale must be"),
        ({"augmentation_changes": {"tilt": 1, "size": 2}}, "augmentation_changes has size, tilt"),
        ({"augmentation_changes": {"rotate_degrees": 45.0}}, "rotate_degrees does nothing without rotate"),
        ({"freeze_batch_size": 4}, "freeze_batch_size does nothing without freeze_epochs"),
        ({"schedule": "constant", "final_learning_rate": 0.1}, "does nothing without schedule cosine or step"),
        ({"decay_rate": 0.9}, "does nothing without schedule exponential"),
        (
            {"schedule": "step", "final_learning_rate": 0.0},
            "final_learning_rate must be above 0 with the step schedule",
        ),
        ({"loss": "dice", "label_smoothing": 0.1}, "does nothing without a loss with cross-entropy or focal"),
        ({"focal_gamma": 1.0}, "does nothing without a focal loss"),
        ({"dice_beta": 2.0}, "does nothing without a loss with dice"),
        ({"encoder_weights": "x" * 5000}, "encoder_weights must be a file, none or imagenet, got 'xxx"),
        ({"encoder_weights": "vgg16.h5"}, "encoder_weights must be a file, none or imagenet, got 'vgg16.h5'"),
        ({"encoder_weights": "imagenet", "weights": "m.h5"}, "give one of weights and encoder_weights"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(model="unet_mini", data="data", **changes)


def test_the_warm_up_of_a_short_run_is_shorter() -> None:
    assert [TrainConfig(model="unet_mini", data="data", epochs=n).num_warmup_epochs for n in (1, 2, 3, 40)] == [
        0,
        1,
        2,
        2,
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"freeze_epochs": 2, "freeze_batch_size": 4, "augmentation_changes": {"rotate": 0.5, "rotate_degrees": 45.0}},
        {"augmentation": "jitter", "augmentation_changes": {"rotate_degrees": 45.0}},
        {"augmentation": "hrnet", "augmentation_changes": {"rotate_degrees": 45.0}},
        {"freeze_epochs": "all", "freeze_batch_size": 4},
        {"validate": False, "early_stopping": 3, "early_stopping_on": "loss"},
        {"val_fraction": 0.1, "mean": "data", "std": "data"},
        {"schedule": "exponential", "decay_rate": 0.9},
        {"loss": "focal+dice", "focal_gamma": 1.0, "dice_beta": 2.0, "label_smoothing": 0.1},
        {"loss": {"a": "dice", "b": "focal"}, "focal_gamma": 1.0, "dice_beta": 2.0, "class_weights": (1.0, 2.0)},
        {"loss": "binary_crossentropy", "class_weight_normalization": False, "probability_clip": 1e-7},
        {"loss": "dice", "class_weights": "none", "optimizer": "rmsprop"},
    ],
)
def test_settings_that_belong_together_are_taken(settings: dict[str, Any]) -> None:
    """What is refused above, with what it goes with."""
    config = TrainConfig(model="unet_mini", data="data", **settings)
    assert all(getattr(config, name) == value for name, value in settings.items())


def test_options_of_the_architecture_are_read_and_checked() -> None:
    config = TrainConfig(model="unet_mini", data="d", model_options={"dropout": "0.3"})
    assert config.model_options == {"dropout": 0.3}
    with pytest.raises(InputError, match=r"unet_mini has no option 'alpha'\. It takes dropout\."):
        TrainConfig(model="unet_mini", data="d", model_options={"alpha": 1})
    with pytest.raises(InputError, match="`model_options` goes with a zoo name"):
        TrainConfig(model="m.keras", data="d", model_options={"alpha": 1})


def test_a_program_may_use_the_former_name_of_a_preset() -> None:
    assert TrainConfig(model="unet_mini", data="d", augmentation="tutorial").augmentation == "jitter"  # type: ignore[arg-type]
