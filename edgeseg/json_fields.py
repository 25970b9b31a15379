"""Reading a frozen dataclass back from JSON: which of its fields are there, and lists as the tuples they were."""

from __future__ import annotations

import dataclasses
from typing import Any


def field_names(cls: type) -> set[str]:
    """The fields of a dataclass; what a newer version wrote besides is skipped by them."""
    return {f.name for f in dataclasses.fields(cls)}


def tuples(value: Any) -> Any:
    """JSON lists to tuples, at every depth, in objects too."""
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    return {key: tuples(item) for key, item in value.items()} if isinstance(value, dict) else value
