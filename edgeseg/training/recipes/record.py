"""Write the settings of a run as a recipe that repeats it, and compare a run with the record of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from edgeseg._internal.toml import toml_value
from edgeseg._internal.versions import __version__
from edgeseg.training.config import FINAL_LEARNING_RATES, OPTIMIZER_DEFAULTS, TrainConfig
from edgeseg.training.recipes.keys import Owner, keys
from edgeseg.training.recipes.recipe import Recipe
from edgeseg.training.run.options import RunOptions


def record(
    config: TrainConfig,
    options: RunOptions | None = None,
    *,
    custom_objects: str | None = None,
    known: Mapping[str, Any] | None = None,
    not_held: tuple[str, ...] = (),
) -> str:
    """Return a TOML file with all settings of a run.

    What was not set has the value that the run took for it as a comment: it depends on the other settings, on the model
    or on the data, and so would be wrong where one of them is changed.

    Args:
        config: the run.
        options: how it is carried out.
        custom_objects: the file with the layers of a model file.
        known: what the run took for fields of its ``TrainConfig`` and ``DataSource`` that were not set.
        not_held: what a program gave that a file cannot hold.

    Raises:
        InputError: a setting cannot be written, such as a path that is not UTF-8.
    """
    options = options or RunOptions()
    in_effect = {**_in_effect(config), **(known or {})}
    set_to: dict[Owner, Mapping[str, Any]] = {
        "config": vars(config),
        "data": _of_the_data(config),
        "augmentation": config.augmentation_changes,
        "run": {**vars(options), "metrics": _metric_names(options)},
        "command": {"custom_objects": custom_objects},
    }
    if options.metrics and not set_to["run"]["metrics"]:
        not_held = (*not_held, "metrics")
    lines = [
        f"# The settings of a run of edgeseg {__version__}. `edgeseg train --recipe` with this file repeats it.",
        *(f"# {name}: given by a program, which this file cannot hold." for name in not_held),
        "",
    ]
    by_default = []
    for key in keys().values():
        value = set_to[key.owner].get(key.field)
        if value is None and key.none:
            value = "none"
        if value is not None and (value or not isinstance(value, tuple | Mapping)):
            lines.append(f"{key.name} = {toml_value(value)}")
        elif in_effect.get(key.field) is not None:
            by_default.append(f"# {key.name} = {toml_value(in_effect[key.field])}")
    if by_default:
        lines += ["", "# Not set, and thus by default or as found in the model and the data:", *by_default]
    return "\n".join(lines) + "\n"


def differences(config: TrainConfig, state: Mapping[str, Any]) -> list[str]:
    """Return how the settings of an interrupted run differ from those of its continuation, a phrase each.

    Args:
        config: the continuation.
        state: of ``last.keras``: ``settings`` is its record, or ``config`` the fields as an earlier edgeseg kept them.
    """
    # Both in the form of a record, so that a folder is the same folder and 1 the same number as 1.0.
    now, was = _recorded(record(config)), _saved(state, config)
    fields = {field.name: (getattr(was, field.name), getattr(now, field.name)) for field in dataclasses.fields(now)}
    return [f"{name} was {before}, is {after}" for name, (before, after) in fields.items() if before != after]


def _recorded(text: str) -> TrainConfig:
    return Recipe.parse(text.encode(), "the run's record").config()


def _saved(state: Mapping[str, Any], config: TrainConfig) -> TrainConfig:
    if "settings" in state:
        return _recorded(state["settings"])
    was = TrainConfig.from_dict(state["config"])
    # The numbers were not kept.
    of_the_data = {name: getattr(config, name) for name in ("mean", "std") if getattr(was, name) == "data"}
    return _recorded(record(dataclasses.replace(was, **of_the_data)))


def _of_the_data(config: TrainConfig) -> dict[str, Any]:
    return {"root": config.data} if not hasattr(config.data, "root") else vars(config.data)


def _metric_names(options: RunOptions) -> tuple[str, ...]:
    """Return the metrics that are watched; none where some are a program's own."""
    if isinstance(options.metrics, Mapping):
        return ()
    names = tuple(name for name in options.metrics if isinstance(name, str))
    return names if len(names) == len(options.metrics) else ()


def _in_effect(config: TrainConfig) -> dict[str, Any]:
    """Return what settings that were omitted mean with the others."""
    learning_rate, weight_decay = OPTIMIZER_DEFAULTS[config.optimizer]
    values: dict[str, Any] = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_epochs": config.num_warmup_epochs,
        "final_learning_rate": FINAL_LEARNING_RATES.get(config.schedule),
        "batch_norm_recalibration": config.num_recalibration,
    }
    if config.num_freeze_epochs:
        values["freeze_batch_size"] = config.batch_size
        values["freeze_learning_rate"] = config.learning_rate or learning_rate
    return values
