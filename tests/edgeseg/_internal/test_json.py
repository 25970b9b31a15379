from __future__ import annotations

import json
from dataclasses import dataclass

from edgeseg._internal.json import as_json, field_names, tuples


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
