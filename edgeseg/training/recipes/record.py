"""Write the settings of a run as a recipe that repeats it, and compare a run with the record of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from edgeseg._internal.json import convert
from edgeseg._internal.toml import toml_value
from edgeseg._internal.versions import __version__
from edgeseg.errors import InputError
from edgeseg.training.config import FINAL_LEARNING_RATES, FORMER_PRESETS, OPTIMIZER_DEFAULTS, TrainConfig
from edgeseg.training.recipes.keys import Key, Owner, keys
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
    return Recipe.parse(text.encode(errors="surrogatepass"), "the run's record").config()


def _saved(state: Mapping[str, Any], config: TrainConfig) -> TrainConfig:
    if "settings" in state:
        return _recorded(state["settings"])
    was = earlier(state["config"])
    # The numbers were not kept.
    of_the_data = {name: getattr(config, name) for name in ("mean", "std") if getattr(was, name) == "data"}
    return _recorded(record(dataclasses.replace(was, **of_the_data)))


def earlier(saved: Mapping[str, Any]) -> TrainConfig:
    """Read the fields of a ``TrainConfig`` as an earlier edgeseg wrote them into ``last.keras``; there is a recipe now.

    Args:
        saved: as parsed from JSON. ``data`` is a folder, or the fields of a ``DataSource``.

    Raises:
        InputError: these are no settings, or one is out of its range.
    """
    data, changes = saved.get("data"), saved.get("augmentation_changes")
    former = saved.get("augmentation")
    preset = FORMER_PRESETS.get(former, former) if isinstance(former, str) else former
    owned: tuple[tuple[Owner, object], ...] = (
        ("config", {**saved, "augmentation": preset}),
        ("data", _american(data) if isinstance(data, Mapping) else {"root": data}),
        ("augmentation", changes or {}),
    )
    what = "the training settings of an earlier edgeseg"
    try:
        values = {key.name: value for owner, fields in owned for key, value in _read(owner, fields)}
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    return Recipe(what, values).config()


def _read(owner: Owner, fields: object) -> Iterator[tuple[Key, Any]]:
    """Yield the settings of one owner; a field that is null or empty has its default, where that is one."""
    given = convert(fields, dict[str, Any])
    for key in keys().values():
        if key.owner != owner or key.field not in given:
            continue
        value = given[key.field]
        if value is None and key.none:
            yield key, None
        elif value is not None and value != []:
            yield key, key.read(value)


def _american(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the ``DataSource`` of an earlier edgeseg, which had British names, as today's."""
    renamed = {"color_map" if name == "colour_map" else name: value for name, value in data.items()}
    if renamed.get("label_encoding") == "colours":
        renamed["label_encoding"] = "colors"
    return renamed


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
    learning_rate, weight_decay = config.peak_learning_rate, OPTIMIZER_DEFAULTS[config.optimizer][1]
    values: dict[str, Any] = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_epochs": config.num_warmup_epochs,
        "final_learning_rate": FINAL_LEARNING_RATES.get(config.schedule),
        "batch_norm_recalibration": config.num_recalibration,
    }
    if config.quantize is not None:
        values["batch_norm_epochs"] = config.num_batch_norm_epochs
    if config.num_freeze_epochs:
        values["freeze_batch_size"] = config.batch_size
        values["freeze_learning_rate"] = learning_rate
    return values
