"""Run an input in a forked process, and look at what it did: its end, its text, its memory, its files."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgeseg._internal.text import unprintable
from fuzz.case import Case
from fuzz.entries import in_child

LONGEST_S = 30.0
MOST_BYTES = 2 << 30
#: Beyond it a process is killed, so that it does not take others with it.
KILLED_BYTES = 3 << 30
MOST_LINES = 3
_STATUSES = (0, 1, 2)
_SPECIAL = re.compile(r"^\.|\.edgeseg-lock$|\.part$|\.tmp$")
#: The models that ran, which edgeseg remembers.
_RECORD = ".cache/edgeseg/models-that-ran"
_STAND_INS = Path(__file__).parent / "stand_ins"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a process did.

    Attributes:
        status: its exit status; ``None`` where a signal ended it.
        kinds: of each rule that it broke, what it did.
        peak_bytes: its largest resident memory.
        seconds: how long it took.
        stderr: what it printed there.
    """

    status: int | None
    kinds: dict[str, str] = field(default_factory=dict)
    peak_bytes: int = 0
    seconds: float = 0.0
    stderr: str = ""


def run(case: Case) -> Outcome:
    """Run an input in a folder of its own, and check what it did."""
    with _scratch() as scratch:
        case.write(scratch / "work")
        if case.programs:
            _write_stand_ins(case, scratch)
        before = _files(scratch / "work")
        start = time.monotonic()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                in_child(case, scratch)
            finally:
                os._exit(99)  # only where the lines above failed themselves
        code, peak_bytes, killed = _wait(child, start)
        seconds = time.monotonic() - start
        stderr = _read(scratch / "stderr")
        outcome = Outcome(
            status=os.WEXITSTATUS(code) if os.WIFEXITED(code) else None,
            peak_bytes=peak_bytes,
            seconds=seconds,
            stderr=stderr,
        )
        kinds = outcome.kinds
        if killed:
            kinds[killed] = f"after {seconds:.0f} s, {peak_bytes >> 20} MiB"
        elif os.WIFSIGNALED(code):
            kinds["signal"] = signal.Signals(os.WTERMSIG(code)).name
        elif outcome.status not in _STATUSES:
            kinds["exit status"] = str(outcome.status)
        if peak_bytes > MOST_BYTES:
            kinds["memory"] = f"{peak_bytes >> 20} MiB"
        kinds.update(_of_text(_read(scratch / "stdout"), stderr, outcome.status))
        kinds.update(_of_files(case, scratch, before, outcome.status))
        return outcome


def _of_text(stdout: str, stderr: str, status: int | None) -> Iterator[tuple[str, str]]:
    if "Traceback (most recent call last)" in stderr or "Exception ignored in" in stderr:
        yield "traceback", _last_line(stderr)
    lines = stderr.splitlines()
    if status == 2 and not lines and not stdout:
        yield "silent", "exit status 2 without a message"
    if status in (1, 2) and len(lines) > MOST_LINES and "Traceback" not in stderr:
        yield "long message", f"{len(lines)} lines: {lines[0][:200]}"
    for line in (*stdout.split("\n"), *stderr.split("\n")):
        if found := unprintable(line):
            yield "unprintable", f"{found} in {line[:200]!r}"
            break


def _of_files(case: Case, scratch: Path, before: dict[str, int], status: int | None) -> Iterator[tuple[str, str]]:
    after = _files(scratch / "work")
    new = sorted(set(after) - set(before))
    # What a run goes on from has its journal beside it.
    resumed = {name for name in new if case.may_keep and name.endswith(".part") and f"{name}.json" in new}
    left = [name for name in new if _SPECIAL.search(name.rpartition("/")[2]) and name not in resumed]
    left += [f"tmp/{name}" for name in _files(scratch / "tmp")]
    if status == 2 and not case.may_keep:
        left += [name for name in new if name not in left]
    if left and status is not None:
        yield "left behind", ", ".join(left[:5])
    changed = [name for name in before if after.get(name) != before[name]]
    if changed and not case.may_keep:
        yield "input changed", ", ".join(changed[:5])
    outside = _read(scratch / "outside") if (scratch / "outside").exists() else ""
    outside += "".join(f"home/{name}\n" for name in _files(scratch / "home") if name != _RECORD)
    if outside:
        yield "touched outside", outside[:300]


def _wait(child: int, start: float) -> tuple[int, int, str]:
    """Return the wait status, the peak memory in bytes, and why the process was killed."""
    pause_s, killed = 0.001, ""
    while True:
        done, code, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if not killed and (time.monotonic() - start > LONGEST_S or _resident(child) > KILLED_BYTES):
            killed = "hang" if time.monotonic() - start > LONGEST_S else "memory"
            os.kill(child, signal.SIGKILL)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started
    return code, usage.ru_maxrss * 1024, killed


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


@contextmanager
def _scratch() -> Iterator[Path]:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # waiting for a disk shows nothing here
    scratch = Path(tempfile.mkdtemp(prefix="edgeseg-fuzz-", dir=place))
    try:
        for name in ("work", "home", "tmp", "bin"):
            (scratch / name).mkdir()
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_stand_ins(case: Case, scratch: Path) -> None:
    import json

    (scratch / "bin" / "answers.json").write_text(json.dumps(case.programs))
    for name in ("ssh", "adb"):
        program = scratch / "bin" / name
        program.write_text(f"#!{sys.executable} -IS\n" + (_STAND_INS / f"{name}.py").read_text())
        program.chmod(0o755)


def _files(folder: Path) -> dict[str, int]:
    """Map the files below a folder to their sizes; -1 for what is no regular file."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size if path.is_file() and not path.is_symlink() else -1
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def _read(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(1 << 22).decode(errors="surrogateescape")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    places = [line.strip() for line in lines if line.lstrip().startswith("File ")]
    return f"{lines[-1][:300]} ({places[-1] if places else ''})"
