from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgeseg._internal.fields import field_of, kinds_of, takes_none

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

Word = Literal["a", "b"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    unknown: Unknown
    number: int = 1
    word: Word | tuple[float, ...] | None = None
    table: Mapping[str, int] = field(default_factory=dict)


def test_a_field_says_what_it_takes_whatever_its_neighbors_name() -> None:
    assert field_of(Settings, "number").default == 1
    assert kinds_of(Settings, "number") == (int,)
    assert kinds_of(Settings, "word") == (Word, tuple[float, ...])
    assert kinds_of(Settings, "table") == (Mapping[str, int],)
    assert [takes_none(Settings, name) for name in ("number", "word", "table")] == [False, True, False]
