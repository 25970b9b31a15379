from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from msgspec import inspect

from edgeseg._internal.json import (
    AnyText,
    Finite,
    Int64,
    Meta,
    Text,
    Texts,
    WrongValue,
    as_json,
    convert,
    decode,
    parse,
)
from edgeseg.benchmark import accuracy, result, worker
from edgeseg.benchmark.devices import benchmark_model, ssh_answers
from edgeseg.benchmark.profile import onnx as onnx_profile
from edgeseg.benchmark.profile import result as profile
from edgeseg.counting import regions
from edgeseg.datasets import classes, labelme
from edgeseg.errors import InputError
from edgeseg.proof import file as proof
from edgeseg.proof import questions
from edgeseg.proof import worker as proof_worker
from edgeseg.runtime.process import exchange, gpu, trial
from edgeseg.spec import ModelSpec
from edgeseg.web import exchange as web
from edgeseg_converters.tuning import record as tuning


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
    assert convert({**read, "from_a_newer_version": 1}, Score) == score


@dataclass(frozen=True, kw_only=True)
class Place:
    name: Text
    cpus: Annotated[int, Meta(ge=0, le=64)] = 0
    load: Annotated[float, Meta(gt=0, le=9)] | None = None
    heat: Finite = 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    place: Place
    kind: Literal["a", "b"] = "a"
    seconds: Annotated[tuple[Annotated[float, Meta(gt=0, le=9)], ...], Meta(max_length=5)] = ()
    pair: tuple[Int64, Int64] | None = None
    versions: Texts = field(default_factory=dict)
    done: bool = False
    said: Annotated[str, Meta(max_length=20)] = ""
    words: Mapping[AnyText, Literal["a", 1] | None] = field(default_factory=dict)
    rest: Any = None

    def __post_init__(self) -> None:
        if self.said == "refused":
            raise InputError("a run is refused, in its own words.")


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
        ({"place": None}, "'place' is null; accepted: object"),
        ({"place": {}}, "'place.name' is missing"),
        ({"place": {"name": "a\x1b[2J"}}, r"'place.name' is 'a\x1b[2J'; accepted: text without \x1b"),
        ({"place": {"name": "x" * 1001}}, "'place.name' is a text of 1001; accepted: text of length <= 1000"),
        ({"place": {"name": "a", "cpus": -1}}, "'place.cpus' is -1; accepted: integer >= 0"),
        ({"place": {"name": "a", "cpus": True}}, "'place.cpus' is true; accepted: integer"),
        ({"place": {"name": "a", "cpus": 1.5}}, "'place.cpus' is 1.5; accepted: integer"),
        ({"place": {"name": "a", "cpus": 2**70}}, "'place.cpus' is an integer of 71 bits; accepted: integer <= 64"),
        ({"place": {"name": "a", "load": 0}}, "'place.load' is 0; accepted: number > 0.0"),
        (
            {"place": {"name": "a", "heat": 10**400}},
            "'place.heat' is an integer of 1329 bits; accepted: finite numbers",
        ),
        ({"kind": "c"}, "'kind' is 'c'; accepted: one of 'a', 'b'"),
        ({"kind": ["a"]}, "'kind' is a list; accepted: text"),
        ({"seconds": [1, "2"]}, "'seconds[1]' is '2'; accepted: number"),
        ({"seconds": "12"}, "'seconds' is '12'; accepted: list"),
        ({"seconds": [1] * 6}, "'seconds' is a list of 6; accepted: list of length <= 5"),
        ({"pair": [1, 2, 3]}, "'pair' is a list of 3; accepted: list of length 2"),
        ({"pair": [2**63, 1]}, "'pair[0]' is 9223372036854775808; accepted: integer <= 9223372036854775807"),
        ({"versions": dict.fromkeys(map(str, range(10_001)), "1")}, "'versions' is an object of 10001; accepted: obj"),
        (
            {"versions": {"a\n": "1"}},
            "a name in 'versions' is another value; accepted: text without control characters",
        ),
        ({"versions": {"a": 1}}, "'versions[...]' is integer; accepted: text"),
        ({"versions": []}, "'versions' is a list; accepted: object"),
        ({"words": {"x": "b"}}, "'words[...]' is another value; accepted: one of 1, 'a'"),
        ({"done": 1}, "'done' is 1; accepted: true or false"),
        ({"said": "x" * 21}, "'said' is a text of 21; accepted: text of length <= 20"),
        ({"said": "refused"}, "a run is refused, in its own words."),
    ],
)
def test_what_is_wrong_says_where_and_what(change: dict[str, Any], text: str) -> None:
    for read in (lambda: decode(json.dumps({**GOOD, **change}), Run), lambda: convert({**GOOD, **change}, Run)):
        with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
            read()
        assert str(caught.value).startswith(text)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_of_toml_are_finite(number: float) -> None:
    for field_name in ("load", "heat"):
        with pytest.raises(WrongValue, match=rf"'place.{field_name}' is (nan|-?inf); accepted: number [<>]"):
            convert({"place": {"name": "a", field_name: number}}, Run)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", "it is no JSON: input data was truncated"),
        (b"\xff\xfe{", "it is no JSON: invalid character (byte 0)"),
        (b'{"place": {"name": "\xff"}}', "it is no "),
        ('{"place": {"name": "\ud800"}}', "it is no text: it has half a character"),
        (r'{"place": {"name": "\udc80"}}', "it is no JSON: invalid utf-16 surrogate pair"),
        ('{"rest":' + "[" * 1_000_000, "nested too deeply"),
        ('{"skipped":' + "[" * 1_000_000 + "]" * 1_000_000 + "}", "nested too deeply"),
        ('{"a":' * 1_000_000, "nested too deeply"),
        ('{"rest": NaN}', "it is no JSON: invalid character"),
        ("-Infinity", "it is no JSON: invalid character"),
        ("9" * 1_000_000, "it is too large a number; accepted: finite numbers"),
        ("[]", "it is a list; accepted: object"),
        ('{"place": {"name": "a", "load": 1e999}}', "'place.load' is too large a number; accepted: finite numbers"),
        ('{"place": {"name": "a"}, "rest": 1e999}', "'rest' is too large a number; accepted: finite numbers"),
    ],
    ids=range(14),
)
def test_what_is_no_json_of_ours(data: bytes | str, text: str) -> None:
    with pytest.raises(WrongValue, match=r"^[^\n]*$") as caught:
        decode(data, Run)
    assert text in str(caught.value)


def test_in_a_large_text_the_value_is_not_looked_for() -> None:
    text = json.dumps({**GOOD, "seconds": [[]] * 300_000})
    assert len(text) > 1_000_000
    with pytest.raises(WrongValue, match=r"'seconds\[0\]' is list; accepted: number"):
        decode(text, Run)


def test_the_last_of_two_values_of_one_name_counts() -> None:
    """As in Python's own reader."""
    text = '{"place": {"name": "a", "cpus": "two"}, "place": {"name": "b"}}'
    assert decode('{"name": "a", "name": "b"}', Place) == Place(name="b")
    with pytest.raises(WrongValue, match=r"'place.cpus' is text; accepted: integer"):  # but each must be right
        decode(text, Run)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", "it is no JSON: Expecting value at character 0"),
        (b"\xff\xfe{", "it is not UTF-8"),
        ("[]", "it is a list; accepted: object"),
        ('{"a":' * 1_000_000, "it is JSON nested too deeply"),
        ('{"a":' + "[" * 200 + "]" * 200 + "}", "it is JSON nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "it is JSON with an integer of thousands of digits"),
    ],
    ids=range(6),
)
def test_what_is_no_object_that_can_be_walked_through(data: bytes | str, text: str) -> None:
    with pytest.raises(WrongValue) as caught:
        parse(data)
    assert str(caught.value) == text


def test_an_object_without_a_type_is_read_as_it_is() -> None:
    deep = '{"a": ' + "[" * 198 + "]" * 198 + ', "b": [NaN, "\\udc80", 1e400]}'
    read = parse(deep.encode())
    assert str(read["b"]) == r"[nan, '\udc80', inf]"


#: What is read from outside, but for the training state, which needs keras.
READ: tuple[Any, ...] = (
    *(ModelSpec, result._Version, result._File, worker.Reply, exchange._Refusal),
    *(profile.Reply, onnx_profile._Events, benchmark_model.Placement),
    *(web.Greeting, web.Opened, web.Output, web.Timings, web.Head),
    *(proof._About, questions.Answers, proof_worker.Value),
    *(tuning._Version, tuning.Record),
    *(accuracy._Entry, classes._Table, labelme._Document, regions._Document, gpu._Answer, trial._Answer),
    *(
        kind
        for kind in vars(ssh_answers).values()
        if isinstance(kind, type) and kind.__module__ == ssh_answers.__name__
    ),
)


FIXED = inspect.BoolType | inspect.NoneType | inspect.LiteralType


def unbounded(kind: Any, at: str) -> Iterator[str]:
    """Yield the places in a type whose size msgspec does not bound."""
    if isinstance(kind, inspect.IntType | inspect.FloatType) and None in (
        kind.le if kind.lt is None else kind.lt,
        kind.ge if kind.gt is None else kind.gt,
    ):
        yield f"{at}: a number"
    elif isinstance(kind, inspect.StrType) and kind.max_length is None:
        yield f"{at}: a text"
    elif isinstance(kind, inspect.VarTupleType | inspect.DictType):
        if kind.max_length is None:
            yield f"{at}: {type(kind).__name__}"
        inner = (kind.key_type, kind.value_type) if isinstance(kind, inspect.DictType) else (kind.item_type,)
        for each in inner:
            yield from unbounded(each, at)
    elif isinstance(kind, inspect.DataclassType):
        for each in kind.fields:
            yield from unbounded(each.type, f"{at}.{each.name}")
    elif isinstance(kind, inspect.UnionType | inspect.TupleType):
        for each in kind.types if isinstance(kind, inspect.UnionType) else kind.item_types:
            yield from unbounded(each, at)
    elif not isinstance(kind, FIXED | inspect.IntType | inspect.FloatType | inspect.StrType):
        yield f"{at}: {type(kind).__name__}"


@pytest.mark.parametrize("kind", READ, ids=[getattr(kind, "__name__", "events") for kind in READ])
def test_each_number_text_and_list_of_what_is_read_has_limits(kind: Any) -> None:
    assert list(unbounded(inspect.type_info(kind), "")) == []


def test_the_limits_are_looked_for_everywhere() -> None:
    kinds = (int, Annotated[float, Meta(ge=0)], str, tuple[Text, ...], dict[Text, str], tuple[Text, float], Any, Run)
    found = [list(unbounded(inspect.type_info(kind), "")) for kind in kinds]
    assert list(map(len, found)) == [1, 1, 1, 1, 2, 1, 1, 2]
    assert found[-1] == [".words: DictType", ".rest: AnyType"]
