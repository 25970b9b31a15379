from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeseg.datasets import read_classes
from edgeseg.errors import InputError
from edgeseg.spec import default_palette


def write_classes(folder: Path, data: Any) -> Path:
    path = folder / "classes.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_only_the_names_are_required(tmp_path: Path) -> None:
    classes = read_classes(write_classes(tmp_path, {"names": ["a", "b"]}))
    assert classes.palette == default_palette(2)
    assert classes.ignore_index is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "null",
        {},
        {"names": []},
        {"names": None},
        {"names": 3},
        {"names": "abc"},
        {"names": ["a", "a"]},
        {"names": [str(n) for n in range(257)]},
        {"names": ["a"], "palette": [[0, 0]]},
        {"names": ["a"], "palette": [0]},
        {"names": ["a"], "palette": [[0, 0, 256]]},
        {"names": ["a"], "palette": [[0, 0, -1]]},
        {"names": ["a"], "palette": [[0, 0, 0], [1, 1, 1]]},
        {"names": ["a"], "ignore_index": "void"},
        {"names": ["a"], "ignore_index": [255]},
        {"names": ["a"], "ignore_index": 256},
        {"names": ["a"], "ignore_index": -1},
    ],
)
def test_a_damaged_table_is_an_input_error_that_names_the_file(tmp_path: Path, data: Any) -> None:
    with pytest.raises(InputError, match=r"classes\.json"):
        read_classes(write_classes(tmp_path, data))


def test_a_table_that_is_not_utf8_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_bytes(b'{"names": ["stra\xdfe"]}')
    with pytest.raises(InputError, match=r"classes\.json"):
        read_classes(tmp_path / "classes.json")
