"""Read JSON and tables of TOML by their type, and convert values to JSON, which has no NaN.

A type is a dataclass; its annotations say what is accepted, in msgspec's terms: ``Annotated[int, Meta(ge=0, le=9)]``.
msgspec bounds nothing by itself, so that each number, text, list and mapping in such a type has its limits.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn, TypeVar, cast

import msgspec
from msgspec import Meta as Meta  # which types of other modules are made with
from msgspec import inspect

from edgeseg._internal.text import UNPRINTABLE, escaped, unprintable
from edgeseg.errors import InputError

T = TypeVar("T")

#: The pattern of a text that can be shown as it is.
PRINTABLE = rf"\A[^{UNPRINTABLE}]*\Z"

#: A number that is finite, and one that has 64 bits.
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
#: A name, a version, a sentence: what can be shown on one line; and one with any characters.
Text = Annotated[str, Meta(max_length=1000, pattern=PRINTABLE)]
AnyText = Annotated[str, Meta(max_length=1000)]
#: Items of a list, and entries of an object, of which there are few.
FEW = 10_000
#: Texts by their names.
Texts = Annotated[Mapping[Text, Text], Meta(max_length=FEW)]

# Objects and lists inside each other, where there is no type: what reads them calls itself for each.
_MAX_DEPTH = 200

# Characters of a text that is read again to show what is wrong in it; without a type it may need a hundred times its
# size and minutes.
_MAX_SHOWN = 1_000_000

_PATH = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_WORDS = {"int": "integer", "float": "number", "str": "text", "bool": "true or false", "array": "list"}
_UNKNOWN = object()


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


class WrongValue(InputError):
    """A value is not of the type that was expected; the text says where, what it is, and what is accepted."""


def decode(data: bytes | str, kind: type[T]) -> T:
    """Read JSON of a type; what an object has beside the fields of a dataclass is skipped.

    Args:
        data: UTF-8; what calls this bounds its length.
        kind: the type of the result: a dataclass, or what its fields may be; a tuple is a list in JSON.

    Raises:
        WrongValue: it is no JSON, or not of this type.
        InputError: the class refuses its fields; the text is its own.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        try:
            value = msgspec.json.decode(data) if len(data) <= _MAX_SHOWN else _UNKNOWN
        except (msgspec.DecodeError, RecursionError):
            value = _UNKNOWN
        _refuse(error, value, kind)
    except RecursionError as error:
        raise WrongValue("it is JSON nested too deeply") from error
    except UnicodeError as error:
        raise WrongValue("it is no text: it has half a character") from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise WrongValue(f"it is no JSON: {reason[0].lower()}{reason[1:]}") from error


def parse(data: bytes | str) -> dict[str, Any]:
    """Read an object of JSON that has no type, or whose fields get today's names before they are converted to one.

    Args:
        data: UTF-8; what calls this bounds its length. NaN and infinity, which Python writes, are read.

    Raises:
        WrongValue: it is no object of JSON, or one nested more than 200 deep.
    """
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise WrongValue("it is JSON nested too deeply") from error
    except UnicodeDecodeError as error:
        raise WrongValue("it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise WrongValue(f"it is no JSON: {error.msg} at character {error.pos}") from error
    except ValueError as error:  # Python reads no integer of thousands of digits
        raise WrongValue("it is JSON with an integer of thousands of digits") from error
    if not isinstance(value, dict):
        raise WrongValue(f"it is {_shown(value)}; accepted: object")
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for node in level
            for item in (node.values() if isinstance(node, dict) else node)
            if isinstance(item, dict | list)
        ]
        if not level:
            return value
    raise WrongValue("it is JSON nested too deeply")


def convert(value: object, kind: type[T]) -> T:
    """Check a value and convert it to a type.

    Args:
        value: objects, lists, texts, numbers, booleans and None, as parsers of JSON and TOML return them; tuples are
            lists.
        kind: the type of the result, as ``decode`` takes it.

    Raises:
        WrongValue: it is not of this type.
        InputError: the class refuses its fields; the text is its own.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        _refuse(error, value, kind)
    except RecursionError as error:
        raise WrongValue("it is nested too deeply") from error
    except UnicodeError as error:  # where a number, a name of a set or a key is expected
        raise WrongValue("it has a text with half a character") from error


def _refuse(error: msgspec.ValidationError, value: object, kind: Any) -> NoReturn:
    """Raise the error of a class, or one that says where, what it is and what is accepted."""
    if isinstance(error.__cause__, InputError):
        raise error.__cause__
    reason, _, at = str(error).partition(" - at ")
    path = [(name, index) for name, index in _PATH.findall(at)]
    place = "".join(f".{name}" if name else f"[{index}]" for name, index in path).lstrip(".")
    if missing := re.match("Object missing required field `(.*)`", reason):
        raise WrongValue(f"'{f'{place}.' if place else ''}{missing[1]}' is missing") from error
    if "`key`" in at:
        value, place = _UNKNOWN, f"a name in '{place}'"
    else:
        value, place = _found(value, path), f"'{place}'" if place else "it"
    shown = _shown(value, length="length" in reason)
    expected, _, got = reason.removeprefix("Expected ").partition(", got ")
    if value is _UNKNOWN:
        shown = _words(got) or "another value"
    if reason.startswith("Invalid enum value"):
        expected = f"one of {', '.join(map(repr, _choices(kind, path)))}"
    elif "matching regex" in expected:
        expected = f"text without {unprintable(value) if isinstance(value, str) else 'control characters'}"
    elif reason.endswith("out of range"):
        shown, expected = "too large a number" if value is _UNKNOWN else shown, "finite numbers"
    raise WrongValue(f"{place} is {shown}; accepted: {_words(expected)}") from error


def _found(value: Any, path: list[tuple[str, str]]) -> object:
    """Return the value at a path; unknown below a mapping, of whose names msgspec says nothing."""
    try:
        for name, index in path:
            value = value[name] if name else value[int(index)]
    except (LookupError, TypeError, ValueError):  # also where a later value of the same name is another
        return _UNKNOWN
    return value


def _choices(kind: Any, path: list[tuple[str, str]]) -> list[Any]:
    """Return the names of a closed set, where a path through a type leads to one."""
    kinds = _each(inspect.type_info(kind))
    for name, index in path:
        found: list[Any] = []
        for one in kinds:
            if name and isinstance(one, inspect.DataclassType):
                found += [field.type for field in one.fields if field.encode_name == name]
            elif index == "..." and isinstance(one, inspect.DictType):
                found.append(one.value_type)
            elif index and isinstance(one, inspect.VarTupleType):
                found.append(one.item_type)
            elif index and isinstance(one, inspect.TupleType) and index != "...":
                found.append(one.item_types[int(index)])
        kinds = [one for each in found for one in _each(each)]
    return [value for one in kinds if isinstance(one, inspect.LiteralType) for value in one.values]


def _each(kind: inspect.Type) -> list[inspect.Type]:
    return list(kind.types) if isinstance(kind, inspect.UnionType) else [kind]


def _words(expected: str) -> str:
    """Return a phrase of msgspec's in words of JSON's."""
    return re.sub(r"\w+", lambda word: _WORDS.get(word[0], word[0]), expected.replace("`", ""))


def _shown(value: object, *, length: bool = False) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    # repr of a container shows what is deep inside as well, and takes long
    for kind, name in ((list | tuple, "a list"), (Mapping, "an object"), (str, "a text")):
        if isinstance(value, kind) and (length or kind is not str):
            return f"{name} of {len(cast(Any, value))}" if length else name
    if isinstance(value, int) and value.bit_length() > 64:  # Python writes none of thousands of digits
        return f"an integer of {value.bit_length()} bits"
    return escaped(f"'{value}'" if isinstance(value, str) else str(value), most=100)
