"""Read a recipe: a TOML file of settings, or a packaged one, and make the values that a training run is given."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from edgeseg._internal.fields import short_repr
from edgeseg._internal.toml import line_of, parse_toml, read_toml
from edgeseg.choices import TutorialRecipe
from edgeseg.errors import InputError, did_you_mean
from edgeseg.training.config import TrainConfig
from edgeseg.training.recipes.keys import Key, Owner, find_key, keys
from edgeseg.training.run.options import RunOptions


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run, any of them, each already of its type.

    Attributes:
        name: what an error text calls it, such as ``recipe 'run/train.toml'``.
        values: the settings by the names of their options.
        lines: on which line of the file each is, where that is known.
    """

    __repr__ = short_repr

    name: str
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, source: str | Path) -> Recipe:
        """Read a packaged recipe by its name, or a file.

        Args:
            source: a name of ``edgeseg.choices.TutorialRecipe``, or the path of a TOML file.

        Raises:
            InputError: there is neither; the file cannot be read or is no TOML; or a setting is unknown or of another
                type. The text has the file, the line and the setting.
        """
        packaged = get_args(TutorialRecipe)
        if str(source) in packaged:
            data = (files("edgeseg.training.recipes") / f"{source}.toml").read_bytes()
            return cls.parse(data, f"recipe '{source}'")
        path = Path(source)
        if path.suffix.lower() != ".toml" and not path.exists():
            hint = did_you_mean(str(source), packaged)
            raise InputError(f"there is no recipe '{source}'.{hint} Give a TOML file, or one of {', '.join(packaged)}.")
        return cls.parse(read_toml(path), f"recipe '{path}'")

    @classmethod
    def parse(cls, data: bytes, name: str) -> Recipe:
        """Read the settings of a TOML file; see ``open``."""
        values, lines = {}, {}
        for written, value in parse_toml(data, name).items():
            line = line_of(data, written)
            try:
                values[written] = find_key(written).read(value)
            except InputError as error:
                raise InputError(f"{_place(name, line)}: {error}") from error
            if line is not None:
                lines[written] = line
        return cls(name, values, lines)

    def config(self, **changes: Any) -> TrainConfig:
        """Return the settings of the run.

        Args:
            **changes: fields of ``TrainConfig`` that replace the recipe's. ``data`` as a folder is read as the recipe
                says, as a ``DataSource`` as that says; ``augmentation_changes`` and ``model_options`` are added to
                the recipe's.

        Raises:
            InputError: there is no model or no data, or a setting is out of its range.
        """
        given = {**self.of("config"), "augmentation_changes": self.of("augmentation")}
        for name, value in changes.items():
            known = given.get(name)
            given[name] = {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
        data = self._data(given.pop("data", None))
        for name, value in (("model", given.get("model")), ("data", data)):
            if value is None:
                raise InputError(f"{self.name} has no {name}; give one.")
        try:
            return TrainConfig(data=data, **given)
        except InputError as error:
            raise self.explained(error, changes) from error

    def run_options(self, **changes: Any) -> RunOptions:
        """Return how the run is carried out; ``changes`` are fields of ``RunOptions`` that replace the recipe's."""
        return RunOptions(**{**self.of("run"), **changes})

    def of(self, owner: Owner) -> dict[str, Any]:
        """Return the settings that fill fields of one owner, by field."""
        return {key.field: self.values[key.name] for key in self._keys() if key.owner == owner}

    def place(self, name: str) -> str:
        """Return where a setting is: ``recipe 'run/train.toml', line 3``."""
        return _place(self.name, self.lines.get(name))

    def explained(self, error: InputError, changed: Collection[str] = ()) -> InputError:
        """Return an error about settings with the place of the one at fault, where it is the recipe's.

        Args:
            error: its text begins with the field at fault, or with anything else.
            changed: the fields that were given in place of the recipe's.
        """
        at_fault = re.match(r"\w+", str(error))
        for key in self._keys():
            if at_fault and at_fault[0] == key.field and key.field not in changed:
                return InputError(f"{self.place(key.name)}: {error}")
        return InputError(f"with {self.name}: {error}")

    def _keys(self) -> list[Key]:
        return [keys()[name] for name in self.values]

    def _data(self, given: Any) -> Any:
        from edgeseg.datasets import DataSource

        if isinstance(given, DataSource):
            return given
        described = self.of("data")
        if given is not None:
            described["root"] = str(given)
        return DataSource(**described).plain if "root" in described else None


def _place(name: str, line: int | None) -> str:
    return name if line is None else f"{name}, line {line}"
