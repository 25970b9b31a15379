"""``text``, and readers of text from outside that would take long or much: linear in what they are given, or refused.

A pattern that backtracks, or a search in a list, would take minutes to years for these inputs.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from edgeseg._internal.limits.text import read_text
from edgeseg._internal.text import masked
from edgeseg.datasets import layouts
from edgeseg.datasets.classes import _color_line, given_classes, read_classes, read_color_map, read_labels
from edgeseg.errors import InputError, did_you_mean

MANY = 1_000_000


def test_a_text_of_the_accepted_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(path, 6, encoding="utf-8-sig") == "abc"
    with pytest.raises(InputError, match=r"a\.txt' has more than 0 MiB, too much for a file of its kind"):
        read_text(path, 5)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_text_may_come_from_a_pipe_and_not_without_an_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("road 1 2 3\n",))
    writer.start()
    assert read_color_map(tmp_path / "pipe").names == ("road",)  # --color-map <(command)
    writer.join()
    for read in (read_classes, read_labels, read_color_map):
        with pytest.raises(InputError, match="'/dev/zero' has more than 16 MiB"):
            read(Path("/dev/zero"))


def test_tables_of_a_million_classes_are_refused_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps({"names": ["sky"] * MANY}))
    (tmp_path / "names.txt").write_text("sky\n" * MANY)
    (tmp_path / "colors.txt").write_text("sky 1 2 3\n" * MANY)
    with pytest.raises(InputError, match=f"'names' is a list of {MANY}; accepted: list of length <= "):
        given_classes(str(tmp_path / "classes.json"))
    with pytest.raises(InputError, match=f"has {MANY} classes; accepted: 1 to 256"):
        given_classes(str(tmp_path / "names.txt"))
    with pytest.raises(InputError, match=f"has {MANY} lines; at most 100000 are read"):
        read_color_map(tmp_path / "colors.txt")
    (tmp_path / "colors.txt").write_text("\n".join(f"{number} x {number % 256} 0 0" for number in range(1000)))
    with pytest.raises(InputError, match="has 1000 classes; accepted: 1 to 256"):
        read_color_map(tmp_path / "colors.txt")


@pytest.mark.parametrize(
    "line",
    ["road{}x", "road{}1 2", "{}1 2 x", "road{}1 2 3 x"],
)
@pytest.mark.parametrize("repeated", [" ", ":", " 1", "1,", "1", "a "])
def test_a_line_of_a_color_map_is_read_in_one_pass(line: str, repeated: str, tmp_path: Path) -> None:
    hostile = line.format(repeated * MANY)
    _color_line(hostile[:50_000])
    (tmp_path / "colors.txt").write_text(f"sky 1 2 3\n{hostile}\n")
    with pytest.raises(InputError, match="is not a name and three numbers") as refused:
        read_color_map(tmp_path / "colors.txt")
    assert len(str(refused.value)) < 1500


def test_a_list_has_a_most_number_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "MAX_LIST_LINES", 3)
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    assert len(layouts._lines(tmp_path / "train.txt")) == 3
    (tmp_path / "train.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(InputError, match="has 4 lines; at most 3 are read"):
        layouts._lines(tmp_path / "train.txt")


@pytest.mark.parametrize(
    "text",
    [
        *("://:" * MANY, "@" + "://a:" * MANY, "://a:1/" * MANY + "@", "?key=" * MANY),
        *("key" * MANY, "key=" * MANY, 'key="' + "a\\" * MANY),
    ],
    ids=lambda text: text[:8],
)
def test_passwords_are_looked_for_in_one_pass(text: str) -> None:
    assert masked(text)


def test_names_that_no_one_typed_are_not_compared() -> None:
    assert did_you_mean("a" * MANY, ["ab" * MANY, "export"]) == ""
    assert did_you_mean("exprot", ["ab" * MANY, "export"]) == " Did you mean 'export'?"
