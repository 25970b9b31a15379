"""Define the keys of a recipe: the options of ``edgeseg train`` by name, the field that each fills, what it accepts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

from edgeseg._internal.fields import field_of, kinds_of, takes_none
from edgeseg._internal.json import FEW, Finite, Int64, Meta, WrongValue, convert
from edgeseg._internal.toml import toml_kind
from edgeseg.errors import InputError, did_you_mean
from edgeseg.training.config import BY_THE_RUN, TrainConfig
from edgeseg.training.run.options import RunOptions

#: Whose field a key fills: that of ``TrainConfig``, of its ``DataSource`` or ``Augmentation``, or of ``RunOptions``;
#: ``command`` where the option is the command line's alone.
Owner = Literal["config", "data", "augmentation", "run", "command"]

#: Options whose names are not those of their fields.
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "input_size": "imgsz",
        "main_output": "output",
        "validate": "val",
        "model_options": "model-option",
        "metrics": "metric",
        "root": "data",
        "layout": "data-layout",
        "checks": "check",
    }
)
#: Fields for which one number means that number for each side, or for each channel.
_ALIKE = ("input_size", "crop_size", "mean", "std")
#: Fields of ``RunOptions`` that a file can hold; the others are typed, or a program's.
_OF_A_RUN = ("metrics", "save_every", "samples", "tensorboard", "distribute")
#: Options of the command that are no field of a dataclass.
_OF_THE_COMMAND: Mapping[str, Any] = MappingProxyType({"checks": bool, "custom_objects": str, "output_dir": str})

#: Options that say what to do now, which a file may not.
TYPED_ONLY = ("recipe", "resume", "overwrite", "max-image-pixels", "json", "help")


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a recipe.

    Attributes:
        name: that of the option, without its dashes.
        owner: whose field it fills.
        field: that field.
        kinds: the types that it takes.
        none: whether ``"none"`` is ``None``: where that is a value, and not the default.
    """

    name: str
    owner: Owner
    field: str
    kinds: tuple[Any, ...]
    none: bool = False

    def read(self, value: Any) -> Any:
        """Return a value of a TOML file in the field's type.

        Raises:
            InputError: it has another type, or is a name that is not known; the text begins with the key.
        """
        if self.none and value == "none":
            return None
        for kind in self.kinds:
            read = _fitted(kind, value, alike=self.field in _ALIKE)
            if read is not None:
                return read
        words = [str(word) for kind in self.kinds if get_origin(kind) is Literal for word in get_args(kind)]
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        raise InputError(f"{self.name} must be {self.accepted}, got {toml_kind(value)}.{hint}")

    @property
    def accepted(self) -> str:
        """What it takes, as a phrase."""
        phrases = [_phrase(kind, alike=self.field in _ALIKE) for kind in self.kinds]
        return " or ".join([*phrases, *(['"none"'] if self.none else [])])


@functools.cache
def keys() -> Mapping[str, Key]:
    """Return the keys of a recipe by name, in the order in which a run writes them."""
    from edgeseg.datasets import DataSource
    from edgeseg.training.data.augment import Augmentation

    found: list[Key] = []
    for field in dataclasses.fields(TrainConfig):
        if field.name == "data":
            found += [_key("data", DataSource, f.name) for f in dataclasses.fields(DataSource)]
        elif field.name == "augmentation_changes":
            own = [f.name for f in dataclasses.fields(Augmentation) if f.name not in BY_THE_RUN]
            found += [_key("augmentation", Augmentation, name) for name in own]
        else:
            found.append(_key("config", TrainConfig, field.name))
    found += [_key("run", RunOptions, name) for name in _OF_A_RUN]
    found += [
        Key(name=_name(field), owner="command", field=field, kinds=(kind,)) for field, kind in _OF_THE_COMMAND.items()
    ]
    return MappingProxyType({key.name: key for key in found})


def find_key(name: str) -> Key:
    """Return the key of a name.

    Raises:
        InputError: there is no such key.
    """
    key = keys().get(name)
    if key is not None:
        return key
    if name in TYPED_ONLY:
        raise InputError(f"'{name}' is no setting of a recipe: --{name} is typed.")
    # The field's name, underscores and the flag that switches off are better guesses than a near name.
    bare = name.strip("-").replace("-", "_").removeprefix("no_")
    same = [key.name for key in keys().values() if bare in (key.field, key.name.replace("-", "_"))]
    hint = f" Did you mean '{same[0]}'?" if same else did_you_mean(name, keys())
    raise InputError(f"unknown setting '{name}'.{hint} Settings are the options of edgeseg train, without dashes.")


def _name(field: str) -> str:
    return _NAMES.get(field, field.replace("_", "-"))


def _key(owner: Owner, settings: type, field: str) -> Key:
    if field == "metrics":
        return Key(name=_name(field), owner=owner, field=field, kinds=(tuple[str, ...],))
    default = field_of(settings, field).default
    none = takes_none(settings, field) and default not in (None, dataclasses.MISSING)
    return Key(name=_name(field), owner=owner, field=field, kinds=kinds_of(settings, field), none=none)


# What a number or a text may be; and what is in a mapping of options, whose reader knows their types.
_LIMITED: Mapping[Any, Any] = MappingProxyType(
    {int: Int64, float: Finite, str: Annotated[str, Meta(max_length=1 << 16)]}
)
_Plain = bool | Int64 | Finite | str


def _fitted(kind: Any, value: Any, *, alike: bool) -> Any:
    """Return a value in a type; ``None`` where it is of another."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is tuple:
        several = inner[-1] is Ellipsis
        if alike and isinstance(value, int | float) and not isinstance(value, bool):
            value = [value] * len(inner)
        if several and isinstance(value, str):
            value = value.split(",")
        if value == []:
            return None
        kind = tuple[tuple(_LIMITED.get(item, item) for item in inner)]  # type: ignore[misc]
        kind = Annotated[kind, Meta(max_length=FEW)] if several else kind
    elif isinstance(origin, type) and issubclass(dict, origin):  # a mapping
        item = _LIMITED.get(inner[1], _Plain | tuple[_Plain, ...])
        kind = Annotated[Mapping[str, item], Meta(max_length=FEW)]  # type: ignore[valid-type]
    try:
        return convert(value, _LIMITED.get(kind, kind))
    except WrongValue:
        return None


def _phrase(kind: Any, *, alike: bool) -> str:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        *others, last = (f'"{word}"' for word in inner)
        return f"{', '.join(others)} or {last}" if others else last
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return f"a list of {'names' if inner[0] is str else 'numbers'}"
        shape = f"[{', '.join('N' if each is int else 'X' for each in inner)}]"
        return f"a number or {shape}" if alike else shape
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}
    return words.get(origin, "a table, such as {name = value}")
