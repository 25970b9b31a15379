from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from edgeseg._internal.json import Meta, WrongValue, as_json, convert, decode, field_names, tuples


@dataclass(frozen=True)
class Score:
    name: str
    values: tuple[float, ...]


def test_nan_and_infinity_are_null_at_every_depth() -> None:
    content = as_json({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (float("-inf"), "x")}})
    assert content == {"a": None, "b": [1.5, None], "c": {"d": [None, "x"]}}


def test_a_dataclass_goes_to_json_and_comes_back() -> None:
    score = Score("m", (0.5, 0.25))
    read = json.loads(json.dumps(as_json({"score": score}), allow_nan=False))["score"]
    known = {name: value for name, value in {**read, "from_a_newer_version": 1}.items() if name in field_names(Score)}
    assert Score(**tuples(known)) == score


def test_lists_are_tuples_again_in_objects_too() -> None:
    assert tuples({"a": [[1, 2], {"b": [3]}], "c": "x"}) == {"a": ((1, 2), {"b": (3,)}), "c": "x"}


@dataclass(frozen=True, kw_only=True)
class Place:
    name: str
    cpus: Annotated[int, Meta(ge=0, le=64)] = 0
    load: Annotated[float, Meta(gt=0)] | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    place: Place
    kind: Literal["a", "b"] = "a"
    seconds: tuple[Annotated[float, Meta(gt=0)], ...] = ()
    pair: tuple[int, int] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    done: bool = False
    said: Annotated[str, Meta(max_length=20, printable=False)] = ""
    rest: Any = None


GOOD: dict[str, Any] = {
    "place": {"name": "Käse", "cpus": 64, "load": None},
    "kind": "b",
    "seconds": [1, 0.5],
    "pair": [1, 2],
    "versions": {"numpy": "2"},
    "done": True,
    "said": "a\nb",
    "rest": [{"x": 1}],
    "from_a_newer_version": [],
}


def test_what_is_right_is_read() -> None:
    run = decode(json.dumps(GOOD), Run)
    assert run == Run(
        place=Place(name="Käse", cpus=64),
        kind="b",
        seconds=(1.0, 0.5),
        pair=(1, 2),
        versions={"numpy": "2"},
        done=True,
        said="a\nb",
        rest=[{"x": 1}],
    )
    assert type(run.seconds[0]) is float
    assert convert({**GOOD, "pair": (1, 2)}, Run) == run  # tuples are lists


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"place": None}, "'place' is null; accepted: an object"),
        ({"place": {}}, "'place.name' is missing"),
        ({"place": {"name": "a\x1b[2J"}}, r"'place.name' is 'a\x1b[2J'; accepted: a text without \x1b"),
        ({"place": {"name": "\ud800"}}, r"'place.name' is '\ud800'; accepted: a text without \ud800"),
        ({"place": {"name": "x" * 1001}}, "'place.name' is a text of 1001; accepted: at most 1000"),
        ({"place": {"name": "a", "cpus": -1}}, "'place.cpus' is -1; accepted: an integer from 0 up to 64"),
        ({"place": {"name": "a", "cpus": True}}, "'place.cpus' is True; accepted: an integer"),
        ({"place": {"name": "a", "cpus": 1.0}}, "'place.cpus' is 1.0; accepted: an integer"),
        ({"place": {"name": "a", "load": 0}}, "'place.load' is 0; accepted: a number above 0"),
        ({"kind": "c"}, "'kind' is 'c'; accepted: one of 'a', 'b'"),
        ({"kind": ["a"]}, "'kind' is a list; accepted: one of 'a', 'b'"),
        ({"seconds": [1, "2"]}, "'seconds[1]' is '2'; accepted: a number"),
        ({"seconds": "12"}, "'seconds' is '12'; accepted: a list"),
        ({"pair": [1, 2, 3]}, "'pair' is a list; accepted: a list of 2"),
        ({"pair": [2**63, 1]}, "'pair[0]' is an integer of 64 bits; accepted: at most 63 and a sign"),
        ({"seconds": [1, 0.5, 2**64, 1]}, "'seconds[2]' is an integer of 65 bits; accepted: at most 63 and a sign"),
        ({"seconds": [1, 0.5, 0, 2]}, "'seconds[2]' is 0; accepted: a number above 0"),
        (
            {"versions": {str(i): "1" for i in range(10_001)}},
            "'versions' is an object of 10001; accepted: at most 10000",
        ),
        ({"versions": {"a\n": "1"}}, r"'versions' is 'a\n'; accepted: a text without \n"),
        ({"versions": {"a": 1}}, "'versions.a' is 1; accepted: a text"),
        ({"versions": []}, "'versions' is a list; accepted: an object"),
        ({"done": 1}, "'done' is 1; accepted: true or false"),
        ({"said": "x" * 21}, "'said' is a text of 21; accepted: at most 20"),
    ],
)
def test_what_is_wrong_says_where_and_what(change: dict[str, Any], text: str) -> None:
    with pytest.raises(WrongValue) as caught:
        decode(json.dumps({**GOOD, **change}), Run)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", "it is no JSON: Expecting value at character 0"),
        (b"\xff\xfe{", "it is "),
        ("[" * 1_000_000, "nested too deeply"),
        ('{"a":' * 1_000_000, "nested too deeply"),
        ("[NaN]", "with NaN; accepted: finite numbers"),
        ("-Infinity", "with -Infinity"),
        ("9" * 1_000_000, "an integer of 1000000 digits"),
        ("[]", "it is a list; accepted: an object"),
        ('{"place": {"name": "a", "load": 1e999}}', "'place.load' is inf; accepted: a number"),
    ],
    ids=range(9),
)
def test_what_is_no_json_of_ours(data: bytes | str, text: str) -> None:
    with pytest.raises(WrongValue, match=r"^[^\n]*$") as caught:
        decode(data, Run)
    assert text in str(caught.value)
