"""``scripts/fuzz``: it sees what it is there for, its inputs follow from the seed, and edgeseg passes a short job."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeseg._internal.files import write_bytes

pytest.importorskip("hypothesis")
TESTS = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it forks, and reads /proc")


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """A function that runs a function as an input, and returns the rules that it broke."""
    monkeypatch.syspath_prepend(TESTS)
    from fuzz import entries, run
    from fuzz.case import Case

    monkeypatch.setattr(run, "LONGEST_S", 2.0)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # which a forked process begins with
    for limit in ("MOST_BYTES", "KILLED_BYTES"):
        monkeypatch.setattr(run, limit, getattr(run, limit) + own)

    def broken(act: Callable[[], int], **fields: Any) -> dict[str, str]:
        monkeypatch.setitem(entries.ENTRIES, "test", lambda case: act())
        return run.run(Case(command=(), files={"a.txt": b"a"}, entry="test", **fields)).kinds

    return broken


def fails(text: str = "edgeseg: no\n", status: int = 2) -> int:
    sys.stderr.write(text)
    return status


def test_what_breaks_a_rule_is_seen(kinds: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    outside = tmp_path / "x"
    acts: dict[str, Callable[[], Any]] = {
        "traceback": lambda: 1 // 0,
        "signal": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit status": lambda: 3,
        "hang": lambda: time.sleep(60),
        "silent": lambda: 2,
        "long message": lambda: fails("a\nb\nc\nd\n"),
        "unprintable": lambda: fails("\x1b[2J\n"),
        "left behind": lambda: Path(".a.tmp").write_bytes(b"") or fails(),
        "input changed": lambda: Path("a.txt").write_bytes(b"more") - 4,
        "touched outside": lambda: outside.write_bytes(b""),
    }
    seen = {name: kinds(act) for name, act in acts.items()}
    assert {name: name in found for name, found in seen.items()} == dict.fromkeys(acts, True), seen
    assert {name: set(found) - {name} for name, found in seen.items()} == {name: set() for name in acts}


def test_memory_above_the_limit_is_seen(kinds: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    from fuzz import run

    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    monkeypatch.setattr(run, "MOST_BYTES", own + (64 << 20))
    monkeypatch.setattr(run, "LONGEST_S", 120.0)  # a worker whose peak is gigabytes needs seconds to fill as many again

    def fill() -> int:  # measured in the forked process: fork leaves the pages of mapped libraries out
        return len(b"x" * (own - run._resident(os.getpid()) + (256 << 20))) * 0

    assert kinds(fill).keys() == {"memory"}


def test_what_keeps_the_rules_is_no_finding(kinds: Callable[..., dict[str, str]]) -> None:
    assert kinds(fails) == {}
    assert kinds(lambda: Path("out.png").write_bytes(b"")) == {}
    assert kinds(lambda: fails() if Path("out.png").write_bytes(b"") == 0 else 0, may_keep=True) == {}


def test_a_seed_makes_the_same_inputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(TESTS)
    from fuzz import campaign
    from fuzz.case import Case
    from fuzz.run import Outcome

    made: list[Case] = []
    monkeypatch.setattr(campaign, "run", lambda case: made.append(case) or Outcome(status=0))

    def cases(seed: int) -> list[Case]:
        made.clear()
        job = campaign.Job(seed=seed, readers=["words"], inputs=20, seconds=0, findings=tmp_path)
        campaign._block("words", 0, 20, job)
        return list(made)

    first = cases(1)
    assert len(first) == 20
    assert cases(1) == first != cases(2)
    first[0].save(tmp_path / "saved")
    assert Case.load(tmp_path / "saved") == first[0]


def test_a_short_job_finds_nothing(tmp_path: Path) -> None:
    """Inputs of every reader, ten seconds on one processor; CONTRIBUTING has the long one."""
    command = [sys.executable, "-m", "fuzz", "--inputs", "24", "--seed", "5", "--processes", "1"]
    paths = os.pathsep.join((str(TESTS), str(TESTS.parent), str(TESTS.parent / "converters")))
    done = subprocess.run(
        [*command, "--output-dir", str(tmp_path / "findings")],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^all +24 .* none$", done.stdout, re.MULTILINE), done.stdout


def written_in_place(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[:100])
        file.flush()
        time.sleep(1)
        file.write(content[100:])


def written_whole(path: Path, content: bytes) -> None:
    write_bytes(path, content, overwrite=True)
    time.sleep(1)


@pytest.mark.parametrize(("write", "faulty"), [(written_in_place, True), (written_whole, False)])
def test_a_kill_sees_a_file_that_is_neither_the_old_nor_the_new_one(
    write: Callable[[Path, bytes], None], faulty: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(TESTS)
    from fuzz import kill

    contents = {"model.keras": b"model" * 100, "other.keras": b"other" * 100}

    def main(command: Sequence[str]) -> int:
        if command[0] == "export":
            write(Path("out/a.tflite"), contents[command[1]])
        else:  # the next run
            write_bytes("out/page.html", b"", overwrite=True)
        return 0

    monkeypatch.setattr("edgeseg.cli.main", main)
    (tmp_path / "seeds").mkdir()
    whole = [kill.Whole(0.3, 1, {"a.tflite": content}) for content in contents.values()]
    total = kill.Kills()
    for number in (1, 2, 3, 4):  # their rounds kill, and have no whole export after it
        total.add(kill._export_round(tmp_path / "seeds", tmp_path / str(number), whole, random.Random(number)))
    assert total.kills == 4
    kinds = {fault.partition(" (")[0] for fault in total.faults}
    assert kinds == ({"a.tflite is neither the old file nor the new one"} if faulty else set())
