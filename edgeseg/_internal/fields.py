"""Say what a field of a dataclass accepts, so that no choice or type is typed twice."""

from __future__ import annotations

import dataclasses
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
