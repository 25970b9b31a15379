"""``_terminal``: standard streams that are closed, full, left or not UTF-8, and names that would steer them: no
traceback, and a status that is no gate's.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeseg.cli import _terminal, main
from edgeseg.cli._terminal import print_markdown, print_table, quiet_native_logs
from edgeseg.imaging import encode_image


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which ``edgeseg`` is this interpreter's command."""
    line = f'edgeseg() {{ "{sys.executable}" -m edgeseg "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


# A table of rich, a text that stays in Python's buffer until the end, and click's own.
@pytest.mark.parametrize("command", ["models", "models --json", "--help"])
def test_a_reader_that_left_ends_the_command_as_sigpipe_would(command: str) -> None:
    done = shell(f"edgeseg {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["models", "models --json"])
def test_a_full_disk_behind_stdout_is_one_line(command: str) -> None:
    done = shell(f"edgeseg {command} > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "edgeseg: standard output cannot be written: No space left on device.\n"


def test_closed_streams_are_as_good_as_none() -> None:
    done = shell("edgeseg models >&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert shell("edgeseg predict none.tflite none.png --count 2>&-").returncode == 2


#: Bytes that are no UTF-8, a line end and a terminal's command; and what ASCII lacks.
HOSTILE = b"\xff\n\x1b[31m.png"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A data set of a good pair, and of one with a hostile name whose image is none."""
    if sys.platform == "darwin":
        pytest.skip("this system has UTF-8 names only")
    for folder in (b"images", b"labels"):
        (tmp_path / os.fsdecode(folder)).mkdir()
        (tmp_path / os.fsdecode(folder) / "a.png").write_bytes(encode_image(np.zeros((4, 4), np.uint8)))
        (tmp_path / os.fsdecode(folder) / os.fsdecode(HOSTILE)).write_bytes(b"none")
    classes = {"names": ["stra\u00dfe", "two\nlines\x1b[31m"]}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    return tmp_path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_hostile_names_are_escaped_lines_on_any_terminal(hostile: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "edgeseg", "data", "check", str(hostile)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"\x1b" not in done.stdout
    lines = done.stdout.decode(encoding).splitlines()
    assert any(r"\udcff\n\x1b[31m.png' does not decode" in line for line in lines if line.startswith("error: "))
    assert any(line.startswith(r"two\nlines\x1b[31m") for line in lines)
    assert any(line.startswith(r"stra\xdfe" if encoding == "ascii" else "straße") for line in lines)


def test_json_of_hostile_names_is_ascii_and_says_them_exactly(
    hostile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(hostile), "--json"]) == 1
    text = capsys.readouterr().out
    assert text.isascii()
    assert any(finding["path"].endswith(os.fsdecode(HOSTILE)) for finding in json.loads(text)["errors"])


def test_an_error_is_one_line_of_bounded_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "none.tflite", os.fsdecode(HOSTILE), "--count"]) == 2
    assert main(["models", "\x1b" * 250]) == 2
    assert main(["models", "\x1b" * 100_000]) == 2
    assert main(["camera", "none.tflite", "--source", "a" * 100_000]) == 2
    assert main(["\x1b" * 100_000]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(len(line) < 2100 and line.isprintable() for line in lines)
    assert "a name is longer than this system allows" in lines[2]


def test_tables_and_warnings_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A"], [["one\ntwo\udcff"]], title="three\nfour")
    assert capsys.readouterr().out.splitlines()[0::2] == [r"three\nfour", r"one\ntwo\udcff"]
    print_markdown(["A"], [["one|two\n"]])
    assert capsys.readouterr().out.splitlines()[2] == r"| one\|two\n |"
    quiet_native_logs()
    logging.getLogger("edgeseg.sources").warning("'%s' ends early", "a\nb\udcff")
    assert capsys.readouterr().err == "edgeseg: 'a\\nb\\udcff' ends early\n"


def test_a_table_in_a_file_has_no_blanks_at_the_ends_of_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["Name", ">Number"], [["a", "1"], ["longer name", "22"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Name         Number", "a                 1", "longer name      22"]


def test_a_table_folds_between_words_and_is_blocks_where_words_are_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_terminal, "_FILE_WIDTH", 24)
    print_table(["Name", "About"], [["a-long-name", "some words on it"]])
    assert capsys.readouterr().out.splitlines() == [
        "Name         About",
        "a-long-name  some words",
        "             on it",
    ]
    rows = [["a-name-of-20-letters", "x", ""], ["b", "more of it", "z"]]
    print_table(["Name", "About", "Rest"], rows)
    assert capsys.readouterr().out.splitlines() == [
        "a-name-of-20-letters",
        "  About  x",
        "",
        "b",
        "  About  more of it",
        "  Rest   z",
    ]
