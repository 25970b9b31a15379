from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.rasters.growing import Journal, growing_map

JOURNAL = Journal(source="a" * 64, model="b" * 64, settings="c" * 64, size_hw=(5, 4))
ROWS = np.arange(20, dtype=np.uint8).reshape(5, 4)


def begin(target: Path) -> None:
    """Write two of five rows and break off."""
    with pytest.raises(KeyboardInterrupt), growing_map(target, JOURNAL) as growing:
        growing.append(ROWS[:2])
        raise KeyboardInterrupt


def test_what_was_begun_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out" / "classes.tif"
    begin(target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["classes.tif.part", "classes.tif.part.json"]
    with growing_map(target, JOURNAL) as growing:
        assert (growing.journal.rows, growing.journal.bands) == (2, 1)
        growing.append(ROWS[2:])
        assert (np.concatenate(list(growing.parts())) == ROWS).all()
    assert list(target.parent.iterdir()) == []


def test_what_fails_before_the_first_row_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError), growing_map(tmp_path / "classes.tif", JOURNAL):
        raise InputError("the image is damaged")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "0" * 64}, "another image"),
        ({"model": "0" * 64}, "another model or runtime"),
        ({"settings": "0" * 64}, "another overlap or bands"),
        ({"size_hw": [5, 5]}, "it is shorter than its journal says"),
        ({"rows": 6}, "it is shorter than its journal says"),
        ({"rows": -1}, "its journal is damaged"),
        ({"model": "../x"}, "its journal is damaged"),
        ({"format_version": 2}, "its journal is damaged"),
    ],
)
def test_what_is_there_of_something_else_is_not_touched(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    target = tmp_path / "classes.tif"
    begin(target)
    journal = target.with_name("classes.tif.part.json")
    journal.write_text(json.dumps(json.loads(journal.read_text()) | changes))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused = pytest.raises(InputError, match=rf"the beginning of another result \({said}.*`overwrite=True`")
    with refused, growing_map(target, JOURNAL):
        pass
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with growing_map(target, JOURNAL, overwrite=True) as growing:
        assert growing.journal == JOURNAL


def test_a_part_without_a_journal_and_a_journal_that_is_none(tmp_path: Path) -> None:
    target = tmp_path / "classes.tif"
    target.with_name("classes.tif.part").write_bytes(b"mine")
    with pytest.raises(InputError, match="it has no journal"), growing_map(target, JOURNAL):
        pass
    for text in ("", "[]", "{}", "x" * 100_000):
        target.with_name("classes.tif.part.json").write_text(text)
        with pytest.raises(InputError, match="its journal is damaged"), growing_map(target, JOURNAL):
            pass


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    refused, target = pytest.raises(InputError, match="is being written by"), tmp_path / "classes.tif"
    with growing_map(target, JOURNAL), refused, growing_map(target, JOURNAL):
        pass
