from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg._internal.toml import MAX_TOML, line_of, parse_toml, read_toml, toml_kind, toml_value
from edgeseg.errors import InputError


@pytest.mark.parametrize(
    "value",
    [
        "", "a", "tab\t, quote\", back\\slash, new\nline, null\0, del\x7f, é, 𝄞", 0, -3, 10**30, True, False, 1e-5, 0.1,
        1e300, [], [1, 2.5], ["a", [True]], {}, {"a": 1, "b c": {"d": [0.5]}, "é": "x"},
    ],
)  # fmt: skip
def test_a_value_comes_back(value: Any) -> None:
    text = f"key = {toml_value(value)}"
    assert parse_toml(text.encode(), "it") == {"key": value}
    assert "\n" not in text


def test_values_of_python_are_written_as_the_nearest_of_toml() -> None:
    assert toml_value((np.float32(0.5), np.int64(3))) == "[0.5, 3]"
    assert toml_value(Path("a") / "b") == '"a/b"'


@pytest.mark.parametrize(("value", "message"), [(None, "None cannot be"), ("a\udcff", "not UTF-8. Rename it")])
def test_what_toml_cannot_hold_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        toml_value(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = \n", r"it is not TOML: .*line 1"),
        (b"a = 1\na = 2", "it is not TOML"),
        (b"a = '\xff'", "it is not TOML: 'utf-8'"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"1" * 10_000, "it is not TOML"),
    ],
)
def test_what_is_no_toml_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_toml(data, "it")


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"#" * MAX_TOML)
    assert len(read_toml(path)) == MAX_TOML
    path.write_bytes(b"#" * (MAX_TOML + 1))
    with pytest.raises(InputError, match="more than 1 MB, too much for a file of settings"):
        read_toml(path)
    for wrong in (tmp_path, tmp_path / "none.toml", "a\0.toml"):
        with pytest.raises(InputError, match="cannot be read"):
            read_toml(wrong)


def test_a_key_has_its_line() -> None:
    data = b'# a = 0\nab = 1\n  "a" = 2\nc.d = 3\n[e]\na = 4\n[[f]]\n[ g . h ]\n'
    assert [line_of(data, key) for key in ("ab", "a", "c", "e", "f", "g", "b")] == [2, 3, 4, 5, 7, 8, None]


def test_a_value_is_named_in_an_error() -> None:
    time = parse_toml(b"a = 2026-11-29", "it")["a"]
    assert [toml_kind(value) for value in (1, "a", {}, time)] == ["1", '"a"', "a table", "the time 2026-11-29"]
    assert len(toml_kind("a" * 100)) == 60
