"""Convert values to JSON, which has no NaN, and back: as they are, or checked against a type if they come from outside.

A type is a dataclass whose annotations say what is accepted; ``Annotated[float, Meta(gt=0)]`` narrows a field. The
names are those of msgspec, which checks while it parses and not after.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from edgeseg._internal.text import escaped, unprintable
from edgeseg.errors import InputError

T = TypeVar("T")

#: Characters of a text whose ``Meta`` says nothing else.
MAX_TEXT = 1000

#: Items of a list and entries of an object; a list of numbers has no limit of its own.
MAX_ITEMS = 10_000

_MAX_INT = 2**63 - 1
_MAX_FLOAT = sys.float_info.max
_MAX_DIGITS = 20  # of an integer as it is written: Python needs quadratic time for many


def as_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can express: dataclasses as objects, tuples as lists, NaN and infinity as null, at any depth."""
    return {name: _as_json(value) for name, value in fields.items()}


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return as_json(value)
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def field_names(cls: type) -> set[str]:
    """Return the field names of a dataclass; readers use them to skip fields that a newer version wrote."""
    return {f.name for f in dataclasses.fields(cls)}


def tuples(value: Any) -> Any:
    """Convert JSON lists to tuples, at every depth, in objects too."""
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    return {key: tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


class WrongValue(InputError):
    """A value is not of the type that was expected; the text says where, what it is, and what is accepted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meta:
    """Limits of a value.

    Attributes:
        ge: least number.
        gt: number that it must exceed.
        le: largest number.
        min_length: fewest characters, items or entries.
        max_length: most characters, items or entries.
        printable: whether a text must be one that can be shown as it is; the output of a program need not be.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    min_length: int = 0
    max_length: int | None = None
    printable: bool = True


def decode(data: bytes | str, kind: type[T]) -> T:
    """Read JSON.

    Args:
        data: UTF-8; what calls this bounds its length.
        kind: the type of the result; see ``convert``.

    Raises:
        WrongValue: it is no JSON, or not of this type.
    """
    try:
        value = json.loads(data, parse_constant=_no_constant, parse_int=_integer)
    except RecursionError as error:
        raise WrongValue("it is JSON nested too deeply") from error
    except UnicodeDecodeError as error:
        raise WrongValue("it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise WrongValue(f"it is no JSON: {error.msg} at character {error.pos}") from error
    return convert(value, kind)


def convert(value: object, kind: type[T]) -> T:
    """Check a value and make it one of a type.

    Args:
        value: objects, lists, texts, numbers, booleans and None, as ``json.loads`` returns them; tuples are lists.
        kind: a dataclass, or what its fields may be: ``bool``, ``int``, ``float``, ``str``, ``None``, ``Literal``,
            tuples, mappings from texts, unions with ``None``, ``Annotated`` with a ``Meta``, and ``Any``. Numbers are
            finite; an integer has 64 bits. What an object has beside the fields of a dataclass is skipped.

    Raises:
        WrongValue: it is not of this type.
    """
    return cast(T, _convert(value, kind, "", Meta()))


def _convert(value: object, kind: Any, at: str, meta: Meta) -> Any:
    origin = get_origin(kind)
    if origin is Annotated:
        return _convert(value, get_args(kind)[0], at, next(m for m in get_args(kind)[1:] if isinstance(m, Meta)))
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in get_args(kind) if argument is not types.NoneType)
        return None if value is None else _convert(value, inner, at, meta)
    if origin is Literal:
        return value if value in get_args(kind) else _wrong(value, at, f"one of {', '.join(map(repr, get_args(kind)))}")
    if kind is bool:
        return value if isinstance(value, bool) else _wrong(value, at, "true or false")
    if kind is int:
        return _number(value, at, meta, "an integer") if type(value) is int else _wrong(value, at, "an integer")
    if kind is float:
        return float(_number(value, at, meta, "a number"))
    if kind is str:
        return _text(value, at, meta)
    if origin is tuple:
        return _tuple(value, get_args(kind), at, meta)
    if origin in (dict, Mapping):
        entries = _sized(value, Mapping, at, dataclasses.replace(meta, max_length=MAX_ITEMS), "an object")
        inner = get_args(kind)[1]
        return {
            _text(key, at, Meta()): _convert(item, inner, _below(at, str(key)), Meta()) for key, item in entries.items()
        }
    return _dataclass(value, kind, at)


def _dataclass(value: object, kind: Any, at: str) -> Any:
    entries = _sized(value, Mapping, at, Meta(), "an object")
    hints = get_type_hints(kind, include_extras=True)
    values = {}
    for field in dataclasses.fields(kind):
        if field.name in entries:
            values[field.name] = _convert(entries[field.name], hints[field.name], _below(at, field.name), Meta())
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise WrongValue(f"'{_below(at, field.name)}' is missing")
    return kind(**values)


def _tuple(value: object, kinds: tuple[Any, ...], at: str, meta: Meta) -> tuple[Any, ...]:
    items = _sized(value, Sequence, at, meta, "a list")
    if kinds[-1] is not Ellipsis:
        if len(items) != len(kinds):
            _wrong(value, at, f"a list of {len(kinds)}")
        return tuple(
            _convert(item, kind, f"{at}[{i}]", Meta()) for i, (item, kind) in enumerate(zip(items, kinds, strict=True))
        )
    number = get_args(kinds[0])[0] if get_origin(kinds[0]) is Annotated else kinds[0]
    if number is float and items and set(map(type, items)) <= {float, int}:
        # Millions of latencies: in place of each the extremes are checked, or the first that is not finite.
        infinite = next((i for i, x in enumerate(items) if not -_MAX_FLOAT <= x <= _MAX_FLOAT), None)
        for i in (items.index(min(items)), items.index(max(items))) if infinite is None else (infinite,):
            _convert(items[i], kinds[0], f"{at}[{i}]", Meta())
        return tuple(map(float, items))
    _sized(value, Sequence, at, Meta(max_length=MAX_ITEMS), "a list")
    return tuple(_convert(item, kinds[0], f"{at}[{i}]", Meta()) for i, item in enumerate(items))


def _number(value: object, at: str, meta: Meta, name: str) -> int | float:
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise WrongValue(f"{_place(at)} is an integer of {value.bit_length()} bits; accepted: at most 63 and a sign")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _wrong(value, at, name)
    limits = {"above": meta.gt, "from": meta.ge, "up to": meta.le}
    accepted = " ".join((name, *(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)))
    if (
        (meta.gt is not None and not value > meta.gt)
        or (meta.ge is not None and not value >= meta.ge)
        or (meta.le is not None and not value <= meta.le)
    ):
        _wrong(value, at, accepted)
    return value


def _text(value: object, at: str, meta: Meta) -> str:
    text: str = _sized(value, str, at, dataclasses.replace(meta, max_length=meta.max_length or MAX_TEXT), "a text")
    if meta.printable and (character := unprintable(text)):
        _wrong(text, at, f"a text without {character}")
    return text


def _sized(value: object, kind: Any, at: str, meta: Meta, name: str) -> Any:
    if not isinstance(value, kind) or (kind is Sequence and isinstance(value, str)):
        _wrong(value, at, name)
    length = len(cast(Any, value))
    if length < meta.min_length:
        _wrong(value, at, f"{name} of at least {meta.min_length}")
    if meta.max_length is not None and length > meta.max_length:
        raise WrongValue(f"{_place(at)} is {name} of {length}; accepted: at most {meta.max_length}")
    return value


def _wrong(value: object, at: str, accepted: str) -> NoReturn:
    # repr of a container shows what is deep inside as well, and takes long
    shown = {list: "a list", tuple: "a list", dict: "an object", type(None): "null"}.get(type(value))
    if shown is None:
        shown = escaped(f"'{value}'" if isinstance(value, str) else str(value), most=100)
    raise WrongValue(f"{_place(at)} is {shown}; accepted: {accepted}")


def _place(at: str) -> str:
    return f"'{escaped(at, most=100)}'" if at else "it"


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _no_constant(name: str) -> NoReturn:
    raise WrongValue(f"it is JSON with {name}; accepted: finite numbers")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise WrongValue(f"it is JSON with an integer of {len(text)} digits; accepted: 64 bits")
    return int(text)
