"""Convert values to JSON, which has no NaN, and back: the field names of a dataclass, and lists as tuples again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


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
