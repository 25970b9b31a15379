"""Make Keras' own optimizers with the settings of a run."""

from __future__ import annotations

from typing import Any

import keras

from edgeseg.training.config import OPTIMIZER_DEFAULTS, TrainConfig

#: Parts of the names of variables that do not decay: biases, scale and offset of normalization layers, and the ranges
#: of a run in integers.
_NO_DECAY = ["bias", "gamma", "beta", "ranges"]


def make_optimizer(config: TrainConfig, learning_rate: Any) -> keras.optimizers.Optimizer:
    """Make the optimizer of a run, not built yet.

    Args:
        config: the run.
        learning_rate: a number or a Keras schedule.
    """
    _, default_decay = OPTIMIZER_DEFAULTS[config.optimizer]
    shared = {
        "weight_decay": (default_decay if config.weight_decay is None else config.weight_decay) or None,
        "clipnorm": config.clipnorm,
        "global_clipnorm": config.global_clipnorm,
        "use_ema": config.ema is not None,
        "ema_momentum": config.ema or 0.0,
    }
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(learning_rate, momentum=config.momentum, nesterov=True, **shared)
    elif config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(learning_rate, beta_1=config.momentum, **shared)
    elif config.optimizer == "rmsprop":
        optimizer = keras.optimizers.RMSprop(learning_rate, **shared)
    else:
        # AdamW takes no None for "no decay".
        shared["weight_decay"] = shared["weight_decay"] or 0.0
        optimizer = keras.optimizers.AdamW(learning_rate, beta_1=config.momentum, **shared)
    optimizer.exclude_from_weight_decay(var_names=_NO_DECAY)
    # float16 has no gradients below 6e-8; bfloat16 has the range of float32.
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.mixed_precision == "float16" else optimizer
