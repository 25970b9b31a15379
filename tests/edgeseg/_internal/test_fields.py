from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from edgeseg._internal.fields import field_of, kinds_of, short_repr, takes_none

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


@dataclass(frozen=True)
class Result:
    data: bytes = b""
    scores: Any = None
    names: tuple[str, ...] = ()
    path: str = "x"
    inner: Any = None
    rest: float = 0.5

    __repr__ = short_repr


def test_a_repr_shows_the_shape_of_what_is_large_and_omits_defaults() -> None:
    assert repr(Result()) == "Result()"
    scores = np.zeros((3, 4), np.uint8)
    assert repr(Result(data=bytes(2000), scores=scores)) == "Result(data=<2,000 bytes>, scores=<(3, 4) uint8>)"
    assert repr(Result(names=("a", "b"), rest=1.5)) == "Result(names=('a', 'b'), rest=1.5)"
    assert repr(Result(names=("a",) * 5, inner=Result())) == "Result(names=<5 items>, inner=<Result>)"
    assert len(repr(Result(path="y" * 1000, names=("z" * 59,), scores="w" * 1000, inner="v" * 1000))) < 300


_PACKAGES = (
    "edgeseg",
    "edgeseg.benchmark",
    "edgeseg.camera",
    "edgeseg.coverage",
    "edgeseg.datasets",
    "edgeseg.models",
    "edgeseg.runtime",
    "edgeseg.sources",
    "edgeseg.training",
    "edgeseg_converters",
    "edgeseg_converters.rewrites",
)
_MODULES = ("edgeseg.evaluation.evaluate", "edgeseg.inspection", "edgeseg.models.opening", "edgeseg.opening")


def public_dataclasses() -> list[type]:
    if importlib.util.find_spec("tf2onnx") is None:
        pytest.skip("the converters are not installed")
    found = {}
    for name in (*_PACKAGES, *_MODULES):
        module = importlib.import_module(name)
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == name]
        for key in getattr(module, "__all__", own):
            value = getattr(module, key)
            if isinstance(value, type) and dataclasses.is_dataclass(value) and not key.startswith("_"):
                found[value] = value
    assert len(found) > 40
    return list(found)


def test_the_repr_of_every_public_value_is_short_whatever_its_fields_hold() -> None:
    contents: tuple[Any, ...] = (bytes(10_000), "n" * 10_000, ("n" * 50,) * 150, np.zeros((600, 800)), {"k": "v" * 999})
    for cls in public_dataclasses():
        for content in contents:
            value = object.__new__(cls)
            for one in dataclasses.fields(cls):
                object.__setattr__(value, one.name, content)
            assert len(repr(value)) < 300, cls
