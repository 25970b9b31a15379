from __future__ import annotations

from typing import Any

import keras
import pytest

from edgeseg.choices import Optimizer
from edgeseg.training.config import OPTIMIZER_DEFAULTS, TrainConfig
from edgeseg.training.objective.optimizers import make_optimizer


def made(**settings: Any) -> Any:
    return make_optimizer(TrainConfig(model="unet_mini", data="data", **settings), 1e-3)


@pytest.mark.parametrize(
    ("name", "kind", "momentum"),
    [("adamw", keras.optimizers.AdamW, "beta_1"), ("adam", keras.optimizers.Adam, "beta_1"),
     ("sgd", keras.optimizers.SGD, "momentum")],
)  # fmt: skip
def test_each_name_is_keras_own_with_the_runs_momentum(name: Optimizer, kind: type, momentum: str) -> None:
    optimizer = made(optimizer=name, momentum=0.8)
    assert type(optimizer) is kind
    assert getattr(optimizer, momentum) == 0.8
    assert (optimizer.weight_decay or None) == (OPTIMIZER_DEFAULTS[name][1] or None)
    assert not optimizer.use_ema


def test_rmsprop_is_keras_own_as_it_is_compiled_by_name() -> None:
    ours, theirs = made(optimizer="rmsprop").get_config(), keras.optimizers.get("rmsprop").get_config()
    differs = {name for name, value in ours.items() if theirs[name] != value}
    assert differs <= {"name", "learning_rate", "ema_momentum"}  # ema is off, and the run has its own rates
    assert OPTIMIZER_DEFAULTS["rmsprop"] == (pytest.approx(theirs["learning_rate"]), 0.0)


def test_decay_can_be_set_and_be_none() -> None:
    assert made(optimizer="sgd", weight_decay=1e-4).weight_decay == 1e-4
    assert made(optimizer="sgd", weight_decay=0.0).weight_decay is None
    assert made(optimizer="adamw", weight_decay=0.0).weight_decay == 0.0  # AdamW takes no None


def test_biases_and_normalizations_do_not_decay() -> None:
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 1), keras.layers.BatchNormalization()])
    optimizer = made(optimizer="adamw")
    optimizer.build(model.trainable_variables)
    decays = {variable.name: optimizer._use_weight_decay(variable) for variable in model.trainable_variables}
    assert decays == {"kernel": True, "bias": False, "gamma": False, "beta": False}


def test_clipping_averages_and_half_precision() -> None:
    optimizer = made(clipnorm=1.5, ema=0.99)
    assert (optimizer.clipnorm, optimizer.use_ema, optimizer.ema_momentum) == (1.5, True, 0.99)
    assert made(global_clipnorm=2.0).global_clipnorm == 2.0
    assert isinstance(made(mixed_precision="float16"), keras.optimizers.LossScaleOptimizer)
    assert not isinstance(made(mixed_precision="bfloat16"), keras.optimizers.LossScaleOptimizer)
