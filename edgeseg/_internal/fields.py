"""Read the fields of a dataclass: what each accepts, so that no choice or type is typed twice, and a short repr."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import types
from typing import Any, Union, get_args, get_origin


def field_of(settings: type, name: str) -> dataclasses.Field[Any]:
    """Return a field of a dataclass."""
    return next(field for field in dataclasses.fields(settings) if field.name == name)


def annotation_of(settings: type, name: str) -> Any:
    """Return a field's type.

    Only this field's annotation is evaluated: others may name what is imported for type checkers alone.
    """
    annotation = field_of(settings, name).type
    if isinstance(annotation, str):
        annotation = eval(annotation, vars(sys.modules[settings.__module__]))  # a class of this project's
    return annotation


def kinds_of(settings: type, name: str) -> tuple[Any, ...]:
    """Return the types that a field accepts, without ``None``."""
    annotation = annotation_of(settings, name)
    union = get_origin(annotation) in (Union, types.UnionType)
    return tuple(kind for kind in get_args(annotation) if kind is not types.NoneType) if union else (annotation,)


def takes_none(settings: type, name: str) -> bool:
    """Return whether ``None`` is a value of a field."""
    return types.NoneType in get_args(annotation_of(settings, name))


#: Characters of a ``short_repr``, and of one value in it.
_LONGEST, _LONGEST_VALUE = 280, 60


def short_repr(value: Any) -> str:
    """Return ``Name(field=value, ...)`` on one line that a notebook can show, for a dataclass's ``__repr__``.

    Fields at their defaults are omitted; of what is large, the shape or the number of items is shown.

    Examples:
        >>> class Result:
        ...     __repr__ = short_repr
    """
    text = f"{type(value).__name__}("
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if not field.repr or _is_default(field, item):
            continue
        part = f"{'' if text.endswith('(') else ', '}{field.name}={_short(item)}"
        if len(text) + len(part) > _LONGEST:
            return f"{text}, ...)"
        text += part
    return f"{text})"


def _is_default(field: dataclasses.Field[Any], item: Any) -> bool:
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return type(item) is type(default) and not hasattr(item, "shape") and bool(item == default)


def _short(item: Any) -> str:
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        return f"<{tuple(item.shape)} {item.dtype}>"
    if isinstance(item, bytes):
        return f"<{len(item):,} bytes>"
    if item is None or isinstance(item, (bool, int, float, complex)):
        return repr(item)
    if isinstance(item, (str, pathlib.PurePath)):
        text = str(item)
        return repr(text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}...")
    if isinstance(item, (tuple, list, dict, set, frozenset)):
        plain = (
            len(item) <= 4 and all(isinstance(one, (str, int, float)) for one in item) and not isinstance(item, dict)
        )
        return repr(item) if plain and len(repr(item)) <= _LONGEST_VALUE else f"<{len(item):,} items>"
    return f"<{type(item).__name__}>"
